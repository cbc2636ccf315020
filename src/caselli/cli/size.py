"""Pictures of another size than the training's, on the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from caselli.cli.parser import is_picture
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
    import torch

    from caselli import ranks
    from caselli.report import grid, save_png
    from caselli.report.strips import save_strips

    each = -(-given.count // ranks.count())
    first = min(ranks.rank() * each, given.count)
    count = min(each, given.count - first)
    with bar(0) as shown:
        canvas = canvas_for(model, given, drawn, engine, shown.update)
        shown.total = count * canvas.length
        codes = torch.zeros(each, *canvas.shape, dtype=torch.int64, device=model.device)
        if count:
            codes[:count] = canvas.codes(count, told.rows(slice(first, first + count)), given.seed + first)
    codes = ranks.gather(codes)[: given.count]
    if not ranks.is_first():
        return
    if is_picture(out) and given.count > 1:
        save_png(grid(torch.cat(list(canvas.strips(codes)), 2), scale=1), out, about(0))
        return
    for number in range(given.count):
        strips = (strip[0] for strip in canvas.strips(codes[number : number + 1]))
        file = out if is_picture(out) else out / f"{number:05}.png"
        save_strips(strips, canvas.size, file, about(number))


def placed(given: argparse.Namespace, channels: int) -> tuple[Any, Any]:
    """Picture files as they are, neither cropped nor resized, on empty canvases; and where they lie."""
    import torch

    from caselli.cli.whole_picture import whole_picture
    from caselli.data import to_float

    size, (left, top) = size_of(given.size), _place(given.at)
    read = [whole_picture(name, channels) for name in given.pictures]
    height, width = read[0].shape[1:]
    if any(one.shape != read[0].shape for one in read) or top + height > size[0] or left + width > size[1]:
        raise UserError(
            f"pictures of {', '.join(f'{x.shape[2]}×{x.shape[1]}' for x in read)} at {left},{top} were given",
            f"one size was expected, and a place within {size[1]}×{size[0]}",
        )
    pictures, keep = torch.zeros(len(read), channels, *size), torch.zeros(size, dtype=torch.bool)
    pictures[:, :, top : top + height, left : left + width] = to_float(torch.stack(read))
    keep[top : top + height, left : left + width] = True
    return pictures, keep


def _place(words: str) -> tuple[int, int]:
    parts = words.split(",")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise UserError(f"place {words!r} was given", "pixels from the left and the top were expected: 64,0")
    return int(parts[0]), int(parts[1])


def bar(tokens: int) -> Any:
    """A bar of progress with tokens per second, on the first rank's terminal."""
    from tqdm import tqdm

    from caselli import ranks

    hidden = not (ranks.is_first() and sys.stderr.isatty())
    return tqdm(total=tokens, unit="token", unit_scale=True, disable=hidden)
