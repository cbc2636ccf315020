"""`caselli complete RUN PICTURE --keep upper -o FILE.png`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from caselli.cli.drawing import bar, canvas_for, engine_for, in_turn, place_of, say_made, size_of
from caselli.cli.output import PICTURES, expect_count, free
from caselli.errors import UnknownName, UserError
from caselli.sampling import AS_LEARNED, Sampling


def command(
    run: str,
    pictures: list[str],
    *,
    keep: str | None = None,
    split: str = "held_out",
    count: int = 4,
    most: int = 8,
    label: str | None = None,
    text: list[str] = (),
    seed: int = 0,
    paste: bool = False,
    size: str | None = None,
    stride: int | None = None,
    at: str = "0,0",
    sampling: Sampling = AS_LEARNED,
    precision: str | None = None,
    out: str,
    overwrite: bool = False,
) -> None:
    """Draws the rest of pictures of which a part is kept; a row for each, first what was kept.

    Arguments:
        pictures: picture files, or one set.
        keep: part that is kept, upper, lower, left or right, or a picture, white where kept (upper).
        count: completions of each picture.
        most: pictures taken of a set.
        seed: the first completion's seed.
        paste: put the original's pixels where they are kept.
        at: X,Y, the place of the picture with --size, in pixels from the left and the top.
        out: FILE.png, .jpg, .webp or .tif.
    """
    path = free(out, overwrite, PICTURES)

    import torch

    from caselli.engine import on_device
    from caselli.model import load
    from caselli.model import paste as pasted
    from caselli.report import grid, save_picture

    expect_count(count, "completions")
    model = on_device(load(run))
    engine = engine_for(model, precision)
    given, kept = (
        _kept(model, pictures, split, most, keep)
        if size is None
        else _placed(model, pictures, size, at, keep)
    )
    repeated, captions = given.repeat_interleave(count, 0), in_turn(text, len(given))
    texts = None if captions is None else [caption for caption in captions for _ in range(count)]
    if size is None:
        completed = model.complete(repeated, kept, label, seed, sampling, engine=engine, text=texts)
    else:
        conditions = model.conditions(len(repeated), label, texts)
        with bar(0) as shown:
            canvas = canvas_for(model, size, stride, sampling, engine, shown.update)
            completed = canvas.complete(repeated, kept, conditions, seed)
    if paste:
        completed = pasted(repeated, completed, kept)
    about = {"run": run, "keep": keep or (f"at {at}" if size else "upper"), "seed": str(seed)}
    about |= sampling.described() | ({"caption": "; ".join(text)} if text else {})
    rows = torch.cat((torch.where(kept, given, 0.0)[:, None], completed.unflatten(0, (-1, count))), 1)
    save_picture(grid(rows.flatten(0, 1), columns=count + 1, scale=None if size is None else 1), path, about)
    say_made(f"{len(completed)} completions in {path}", engine)


def _kept(model: Any, names: list[str], split: str, most: int, keep: str | None) -> tuple[Any, Any]:
    """Pictures of the model's size, and the pixels of them that are kept."""
    from caselli.canvas import HALVES, half
    from caselli.cli.pictures import read_pictures

    pictures, part = read_pictures(model, names, most, split=split), keep or "upper"
    if part in HALVES:
        return pictures, half(part, model.size)
    if not Path(part).is_file():
        raise UnknownName("part", part, (*HALVES, "a picture file"))
    return pictures, read_pictures(model, [part], 1)[0].mean(0) > 0


def _placed(model: Any, names: list[str], size: str, at: str, keep: str | None) -> tuple[Any, Any]:
    """Whole pictures on a canvas, and the pixels that they cover."""
    from caselli.canvas import placed
    from caselli.data import to_float, whole_picture

    if keep is not None:
        raise UserError("--keep was given with --size", "with --size the whole picture is kept")
    read = [to_float(whole_picture(name, model.channels)) for name in names]
    return placed(read, size_of(size), place_of(at))
