"""`caselli variations RUN PICTURE -n 8 -o FILE.png`."""

from __future__ import annotations

import dataclasses
import sys

from caselli.cli.parser import add_out, add_run, free, parser
from caselli.cli.sampling import add_engine, add_sampling, sampling
from caselli.cli.size import bar


def run(arguments: list[str]) -> None:
    """Parses, draws, writes a grid: the picture, its reconstruction, the variations."""
    options = parser("variations", "Makes new pictures near a given one.")
    add_run(options)
    options.add_argument("picture", metavar="PICTURE", help="a file")
    options.add_argument("-n", "--count", type=int, default=8, help="how many (8)")
    options.add_argument(
        "--strength", type=float, default=0.5, help="share of codes drawn anew, 0 to 1 (0.5)"
    )
    options.add_argument("--rounds", type=int, default=4, help="in which they are drawn (4)")
    options.add_argument("--label", help="a class; none: any")
    options.add_argument("--seed", type=int, default=0, help="variation i is drawn with seed + i (0)")
    add_sampling(options)
    add_engine(options)
    add_out(options, "FILE.png")
    given = options.parse_args(arguments)
    out, drawn = free(given.out, given.overwrite), sampling(given)

    import torch

    from caselli.canvas import Redrawing, variations
    from caselli.cli.pictures import read_pictures
    from caselli.cli.sampling import engine_for, say_pace
    from caselli.model import load
    from caselli.report import grid, save_png

    how, model = Redrawing(given.strength, given.rounds, options=drawn, seed=given.seed), load(given.run)
    engine, picture = engine_for(model, given.precision), read_pictures(model, [given.picture], 1)
    how = dataclasses.replace(how, engine=engine, conditions=model.conditions(given.count, given.label))
    with bar(round(given.count * how.rounds * how.share * model.grid.length)) as shown:
        made = variations(model, picture, given.count, dataclasses.replace(how, progress=shown.update))
    rows = torch.cat((picture, model.decode(model.encode(picture)).cpu(), made))
    captions = ["original", "decoded", *(f"{given.seed + i}" for i in range(len(made)))]
    text = {"run": given.run, "strength": str(given.strength), "seed": str(given.seed)}
    text |= drawn.described()
    columns = len(rows) if len(rows) <= 10 else None
    save_png(grid(rows, columns, captions), out, text)
    print(f"{len(made)} variations in {out}", file=sys.stderr)
    say_pace(engine)
