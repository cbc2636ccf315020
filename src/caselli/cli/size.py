"""Pictures of another size than the training's, on the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from caselli.errors import UserError


def add_size(into: argparse.ArgumentParser) -> None:
    """The --size and --stride arguments."""
    into.add_argument("--size", metavar="WxH", help="width and height in pixels (the training pictures')")
    into.add_argument("--stride", type=int, help="codes of a row drawn in one window of --size (half of it)")


def size_of(words: str) -> tuple[int, int]:
    """Height and width of `WxH`.

    Example:
        >>> size_of("512x256")
        (256, 512)
    """
    parts = words.lower().replace("×", "x").split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise UserError(f"size {words!r} was given", "width and height were expected, such as 512x256")
    return int(parts[1]), int(parts[0])


def refuse_size(given: argparse.Namespace) -> None:
    """Raises `UserError` where --size was given for a one-stage family."""
    if given.size is not None:
        raise UserError(
            "--size was given for the run of a one-stage family",
            "a run with a tokenizer and a prior was expected",
            "leave --size out: a family draws pictures of the training's size",
        )


def canvas_for(model: Any, given: argparse.Namespace, drawn: Any, engine: Any, progress: Any) -> Any:
    """The canvas that the arguments ask for; says how its pictures are decoded."""
    from caselli import ranks
    from caselli.canvas import Canvas

    canvas = Canvas(model, size_of(given.size), given.stride, drawn, progress=progress, engine=engine)
    if ranks.is_first():
        print(f"decoding: {canvas.tiles.about()}", file=sys.stderr)
    return canvas


def sample_sized(
    model: Any, given: argparse.Namespace, told: Any, drawn: Any, engine: Any, out: Path, about: Any
) -> None:
    """`caselli sample --size`: codes by all ranks, pictures by the first, strip by strip.

    Arguments:
        told: the conditions of all pictures.
        out: a picture file, or a folder for a file each.
        about: what is written into picture i's file: about(i).
    """
    from caselli import ranks
    from caselli.report import save_canvas

    with bar(0) as shown:
        canvas = canvas_for(model, given, drawn, engine, shown.update)
        shown.total = len(ranks.share(given.count)) * canvas.length
        codes = canvas.codes_of_ranks(given.count, told, given.seed)
    if ranks.is_first():
        save_canvas(canvas, codes, out, about)


def place_of(words: str) -> tuple[int, int]:
    """Pixels from the top and the left of `X,Y`.

    Example:
        >>> place_of("64,0")
        (0, 64)
    """
    parts = words.split(",")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise UserError(f"place {words!r} was given", "pixels from the left and the top were expected: 64,0")
    return int(parts[1]), int(parts[0])


def bar(tokens: int) -> Any:
    """A bar of progress with tokens per second, on the first rank's terminal."""
    from tqdm import tqdm

    from caselli import ranks

    hidden = not (ranks.is_first() and sys.stderr.isatty())
    return tqdm(total=tokens, unit="token", unit_scale=True, disable=hidden)
