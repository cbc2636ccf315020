"""`caselli interpolate RUN A B -n 8 -o FILE.png`."""

from __future__ import annotations

import sys

from caselli.cli.parser import add_out, add_run, free, parser
from caselli.cli.sampling import add_engine, add_sampling, sampling


def run(arguments: list[str]) -> None:
    """Parses, goes from one picture to the other, writes the steps side by side."""
    options = parser("interpolate", "Goes from one picture to another.")
    add_run(options)
    options.add_argument("ends", metavar="PICTURE", nargs=2, help="the first and the last, files")
    options.add_argument("-n", "--count", type=int, default=8, help="steps, the ends included (8)")
    options.add_argument(
        "--smooth", type=float, default=0.0, help="share of codes between that the prior draws anew (0)"
    )
    options.add_argument("--label", help="a class for that drawing; none: any")
    options.add_argument("--seed", type=int, default=0, help="of that drawing (0)")
    add_sampling(options)
    add_engine(options)
    add_out(options, "FILE.png")
    given = options.parse_args(arguments)
    out, drawn = free(given.out, given.overwrite), sampling(given)

    from caselli.canvas import Redrawing, interpolate
    from caselli.cli.pictures import read_pictures
    from caselli.cli.sampling import engine_for
    from caselli.model import load
    from caselli.report import grid, save_png

    model = load(given.run)
    ends, how = read_pictures(model, given.ends, 2), None
    if given.smooth:
        conditions = model.conditions(max(0, given.count - 2), given.label)
        about = {"options": drawn, "conditions": conditions, "seed": given.seed}
        how = Redrawing(given.smooth, **about, engine=engine_for(model, given.precision))
    made = interpolate(model, ends, given.count, how)
    text = {"run": given.run, "smooth": str(given.smooth), "seed": str(given.seed)}
    text |= drawn.described()
    columns = given.count if given.count <= 12 else None
    save_png(grid(made, columns=columns), out, text)
    print(f"{len(made)} steps in {out}", file=sys.stderr)
