"""Pictures named on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from caselli import data
from caselli.data import picture_bytes
from caselli.decoding import EXTENSIONS, BadPicture, decode
from caselli.errors import UserError
from caselli.shapes import Float, Shaped, Tensor
from caselli.trained import Trained


def source_for(model: Trained, source: str, split: str, size: int | None = None) -> data.Pictures:
    """A part of a set at the model's size and channels, or at another size; says which part it is."""
    channels, progress = model.channels, sys.stderr.isatty()
    found = data.open(source, size=size or model.size, channels=channels, split="all", progress=progress)
    for note in found.said_for(model.classes):
        print(note, file=sys.stderr)
    part = found.split(split)
    if len(part) < len(found):
        of = f"{len(part)} of the {len(found)} pictures of {found.name}"
        print(f"{of} are taken, the part {split}; --split all takes every one", file=sys.stderr)
    return part


def read_pictures(
    model: Trained, names: list[str], most: int, size: int | None = None, split: str = "held_out"
) -> Float[Tensor, "B C H W"]:
    """Picture files, or up to `most` pictures of a part of one set, in [−1, 1]; of the model's size unless
    another is given."""
    if is_set(names):
        pictures = source_for(model, names[0], split, size)
        return data.to_float(pictures.read(torch.arange(min(most, len(pictures)))))
    decoded = [picture_file(Path(name), size or model.size, model.channels) for name in names]
    return data.to_float(torch.stack(decoded))


def is_set(names: list[str]) -> bool:
    """True where one set is named rather than picture files."""
    path = Path(names[0])
    return len(names) == 1 and not (path.is_file() and path.suffix.lower() in EXTENSIONS)


def picture_file(path: Path, size: int, channels: int) -> Shaped[Tensor, "C S S"]:
    """The middle square of a picture file at a size, uint8; a `UserError` for what is no picture."""
    try:
        return torch.from_numpy(decode(picture_bytes(path), size, channels).copy())
    except BadPicture as error:
        raise UserError(f"{path} was given: {error}", "a whole picture was expected") from None
