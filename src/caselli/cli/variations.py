"""`caselli variations RUN PICTURE -n 8 -o FILE.png`."""

from __future__ import annotations

import dataclasses

from caselli.cli.drawing import bar, engine_for, say_made
from caselli.cli.output import PICTURES, free
from caselli.sampling import AS_LEARNED, Sampling


def command(
    run: str,
    picture: str,
    *,
    count: int = 8,
    strength: float = 0.5,
    rounds: int = 4,
    label: str | None = None,
    seed: int = 0,
    sampling: Sampling = AS_LEARNED,
    precision: str | None = None,
    out: str,
    overwrite: bool = False,
) -> None:
    """Makes new pictures near a given one, shown behind it and its reconstruction.

    Arguments:
        picture: a picture file.
        count: number of variations.
        strength: share of the codes that are drawn anew, 0 to 1.
        rounds: rounds in which they are drawn.
        seed: variation i is drawn with seed + i.
        out: FILE.png, .jpg, .webp or .tif.
    """
    path = free(out, overwrite, PICTURES)

    import torch

    from caselli.canvas import Redrawing, variations
    from caselli.cli.pictures import read_pictures
    from caselli.engine import on_device
    from caselli.model import load
    from caselli.report import grid, save_picture

    how, model = Redrawing(strength, rounds, options=sampling, seed=seed), on_device(load(run))
    engine, given = engine_for(model, precision), read_pictures(model, [picture], 1)
    how = dataclasses.replace(how, engine=engine, conditions=model.conditions(count, label))
    with bar(round(count * how.rounds * how.share * model.grid.length)) as shown:
        made = variations(model, given, count, dataclasses.replace(how, progress=shown.update))
    rows = torch.cat((given, model.decode(model.encode(given)).cpu(), made))
    captions = ["original", "decoded", *(f"{seed + i}" for i in range(len(made)))]
    about = {"run": run, "strength": str(strength), "seed": str(seed), **sampling.described()}
    save_picture(grid(rows, len(rows) if len(rows) <= 10 else None, captions), path, about)
    say_made(f"{len(made)} variations in {path}", engine)
