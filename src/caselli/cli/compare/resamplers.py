"""`caselli compare resamplers SOURCE -o FOLDER`."""

from __future__ import annotations

import sys

from caselli.cli.parser import add_out, free, parser
from caselli.errors import UserError

TASKS = ("autoencoder", "segmentation")


def run(arguments: list[str]) -> None:
    """Parses, trains a small network with each resampler, prints the table."""
    options = parser(
        "compare resamplers",
        "A small network with each resampler, all else equal: a table and a picture. In a tiny autoencoder: "
        "checkerboards, shift consistency, reconstruction, cost. In a U-Net (beside FCN-32s, 16s and 8s): "
        "intersection over union.",
    )
    options.add_argument(
        "source", metavar="SOURCE", help="pictures; for segmentation glyphs, or a folder with masks"
    )
    options.add_argument("--task", default=TASKS[0], help=f"{' or '.join(TASKS)} ({TASKS[0]})")
    options.add_argument("--resamplers", default="", help="names with commas between (all)")
    options.add_argument("--steps", type=int, help="training steps of each (400; segmentation 1200)")
    options.add_argument("--size", type=int, help="height and width in pixels")
    options.add_argument("--scale", type=int, help="of the resamplers in the autoencoder (2)")
    options.add_argument("--width", type=int, help="of the U-Net at full size (8)")
    options.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    add_out(options, "a folder for the table and the picture")
    given = options.parse_args(arguments)
    if given.task not in TASKS:
        raise UserError(f"task {given.task!r} was given", f"one of {', '.join(TASKS)} was expected")
    if given.steps is not None and given.steps < 2:
        raise UserError(f"steps {given.steps} were given", "at least 2 were expected")
    foreign = "width" if given.task == "autoencoder" else "scale"
    if getattr(given, foreign) is not None:
        raise UserError(f"--{foreign} was given", f"it is no option of the task {given.task}")
    out = free(given.out, given.overwrite)

    from caselli.recipe.resampler_comparison import compare

    names = [name for name in given.resamplers.split(",") if name]
    chosen = {k: getattr(given, k) for k in ("steps", "size", "scale", "width", "seed")}
    chosen = {k: v for k, v in chosen.items() if v is not None}
    print(compare(given.task, given.source, out, names, progress=sys.stderr.isatty(), **chosen), end="")
