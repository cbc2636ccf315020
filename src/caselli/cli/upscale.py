"""`caselli upscale RUN PICTURE... -o FOLDER`."""

from __future__ import annotations

from typing import Any

from caselli.cli.drawing import engine_for, in_turn, say_made
from caselli.cli.output import PICTURES, free, is_picture
from caselli.cli.sample import Wanted, write
from caselli.errors import UserError
from caselli.sampling import AS_LEARNED, Sampling


def command(
    run: str,
    pictures: list[str],
    *,
    split: str = "held_out",
    count: int = 1,
    most: int = 8,
    label: str | None = None,
    text: list[str] = (),
    seed: int = 0,
    sampling: Sampling = AS_LEARNED,
    precision: str | None = None,
    out: str,
    overwrite: bool = False,
) -> None:
    """Draws pictures larger than they are, by the factor that a run was trained for.

    Arguments:
        pictures: files of any size, or one set, whose pictures are made small first.
        count: drawings of each picture.
        most: pictures taken of a set.
        seed: the first drawing's seed.
        out: FILE.png (.jpg, .webp, .tif) for rows of small and drawn ones, or a folder for a file each.
    """
    path = free(out, overwrite, PICTURES, folder=True)

    from caselli.canvas import upscale
    from caselli.engine import on_device
    from caselli.model import load
    from caselli.report import grid, save_picture

    model = on_device(load(run))
    small = _small(model, pictures, split, most)
    if is_picture(path) and len({picture.shape for picture in small}) > 1:
        raise UserError(
            f"pictures of several sizes were given for {out}",
            "pictures of one size were expected for rows",
            "name a folder, which gets a file for each",
        )
    engine, captions = engine_for(model, precision), in_turn(text, len(small))
    large = upscale(model, small, count, label, captions, seed, sampling, engine)
    about = {"run": run, **sampling.described()}
    if is_picture(path):
        save_picture(grid(_rows(small, large, count), columns=count + 1), path, about | {"seed": str(seed)})
    else:
        labels = None if label is None else [label] * len(large)
        texts = None if captions is None else [caption for caption in captions for _ in range(count)]
        write(large, path, Wanted(len(large), labels, texts, seed=seed, about=about))
    say_made(f"{len(large)} pictures in {path}", engine)


def _small(model: Any, names: list[str], split: str, most: int) -> list[Any]:
    """The small pictures, `C h w` in [−1, 1]: files as they are, those of a set made small."""
    from caselli.cli.pictures import is_set, read_pictures
    from caselli.data import to_float, whole_picture

    side = model.require_small_size()
    if is_set(names):
        return list(read_pictures(model, names, most, side, split))
    return [to_float(whole_picture(name, model.channels)) for name in names]


def _rows(small: list[Any], large: list[Any], count: int) -> Any:
    """Each small picture, its pixels as squares, and its drawings."""
    import torch
    import torch.nn.functional as F

    before = F.interpolate(torch.stack(small), size=large[0].shape[1:])
    after = torch.stack(large).unflatten(0, (-1, count))
    return torch.cat((before[:, None], after), 1).flatten(0, 1)
