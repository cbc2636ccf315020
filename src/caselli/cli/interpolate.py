"""`caselli interpolate RUN A B -n 8 -o FILE.png`."""

from __future__ import annotations

import sys

from caselli.cli.drawing import engine_for
from caselli.cli.output import PICTURES, free
from caselli.sampling import AS_LEARNED, Sampling


def command(
    run: str,
    first: str,
    last: str,
    *,
    count: int = 8,
    smooth: float = 0.0,
    label: str | None = None,
    seed: int = 0,
    sampling: Sampling = AS_LEARNED,
    precision: str | None = None,
    out: str,
    overwrite: bool = False,
) -> None:
    """Goes from one picture to another, the steps side by side.

    Arguments:
        first: a picture file.
        last: another.
        count: number of steps, the ends included.
        smooth: share of the codes between that the prior draws anew.
        seed: seed of that drawing.
        out: FILE.png, .jpg, .webp or .tif.
    """
    path = free(out, overwrite, PICTURES)

    from caselli.canvas import Redrawing, interpolate
    from caselli.cli.pictures import read_pictures
    from caselli.engine import on_device
    from caselli.model import load
    from caselli.report import grid, save_picture

    model = on_device(load(run))
    ends, how = read_pictures(model, [first, last], 2), None
    if smooth:
        conditions, engine = model.conditions(max(0, count - 2), label), engine_for(model, precision)
        how = Redrawing(smooth, options=sampling, conditions=conditions, seed=seed, engine=engine)
    made = interpolate(model, ends, count, how)
    about = {"run": run, "smooth": str(smooth), "seed": str(seed), **sampling.described()}
    save_picture(grid(made, columns=count if count <= 12 else None), path, about)
    print(f"{len(made)} steps in {path}", file=sys.stderr)
