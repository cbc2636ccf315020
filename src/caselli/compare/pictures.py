"""Pictures, labels and runs for comparisons."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from caselli import data
from caselli.data import Pictures, spread, to_float
from caselli.errors import UserError
from caselli.model import Model
from caselli.shapes import Float, Tensor


def some(pictures: Pictures, most: int) -> Pictures:
    """At most `most` of the pictures, evenly spread."""
    return pictures.subset(spread(len(pictures), most))


def pixels(pictures: Pictures) -> Float[Tensor, "n C H W"]:
    """All pictures of a set, in [-1, 1]."""
    return to_float(pictures.read(torch.arange(len(pictures))))


def pictures_for(model: Model, source: str, split: str) -> Pictures:
    """A set at the model's size and channels."""
    channels, progress = model.tokenizer.config.channels, sys.stderr.isatty()
    return data.open(source, size=model.size, channels=channels, split=split, progress=progress)


def labels_for(model: Model, count: int) -> list[int] | None:
    """Labels of `count` samples, spread over all classes; None for a model without labels."""
    if not model.classes:
        return None
    return [round(i * (len(model.classes) - 1) / max(1, count - 1)) for i in range(count)]


def runs_by_name(folders: Sequence[str]) -> dict[str, Path]:
    """Run folders by their own names.

    Errors: `UserError` where two have one name.
    """
    found = {Path(folder).resolve().name: Path(folder) for folder in folders}
    if len(found) < len(folders):
        raise UserError("two runs of one name were given", "names of their own were expected")
    return found
