"""The pictures of a run: opened, and in batches for validation."""

from __future__ import annotations

import sys
from typing import Any

import torch

from caselli import data, ranks
from caselli.data import Pictures
from caselli.run.config import DataConfig
from caselli.run.kind import Data
from caselli.trained import Trained

VALIDATION_PICTURES = 1024
"""Held-out pictures looked at in each validation, at most."""


def open_pictures(config: DataConfig, progress: bool) -> Data:
    """Both parts of a set of pictures."""
    everything = data.open(
        config.source,
        size=config.size,
        channels=config.channels,
        split="all",
        workers=config.workers,
        progress=shows(progress),
    )
    pictures = everything.split("train")
    return Data(pictures, everything.split("held_out"), pictures, pictures.classes, pictures.fingerprint)


def open_split(trained: Trained, source: str, split: str) -> Pictures:
    """A part of a set at a trained run's size and channels."""
    channels, progress = trained.channels, sys.stderr.isatty()
    return data.open(source, size=trained.size, channels=channels, split=split, progress=progress)


def shows(progress: bool) -> bool:
    """True where a bar that was asked for has a terminal to be shown on."""
    return progress and ranks.is_first() and sys.stderr.isatty()


def validation_batches(items: Any, batch: int, most: int = VALIDATION_PICTURES) -> list[Any]:
    """The held-out batches of each validation.

    Arguments:
        items: a set with `batch(indices)`: pictures, codes, pictures with masks.
        batch: their number in a batch.
        most: how many of them are looked at.
    """
    return [items.batch(indices) for indices in torch.arange(min(len(items), most)).split(batch)]
