"""The pictures of a run: opened, and in batches for validation."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import torch

from caselli import data, ranks
from caselli.data import Pictures
from caselli.run.config import DataConfig
from caselli.trained import Trained


@dataclasses.dataclass(frozen=True)
class Data:
    """The pictures of a run, with whatever belongs to them."""

    train: Any
    """The training set: pictures, or pictures with masks."""
    held_out: Any
    """The held-out set."""
    pictures: Pictures
    """The pictures that are trained on."""
    classes: tuple[str, ...]
    """Names of the labels, or of the classes of pixels."""
    fingerprint: str
    """16 hex digits that change when the data do."""


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
    pictures = data.open(source, size=trained.size, channels=channels, split=split, progress=progress)
    for note in pictures.said_for(trained.classes):
        print(note, file=sys.stderr)
    return pictures


def shows(progress: bool) -> bool:
    """True where a bar that was asked for has a terminal to be shown on."""
    return progress and ranks.is_first() and sys.stderr.isatty()


def batches_of(samples: Any, batch: int, most: int | None = None) -> list[Any]:
    """A set's first samples in order, in batches.

    Arguments:
        samples: pictures, codes or pictures with masks.
        batch: number of samples in a batch.
        most: number of samples; None for all.
    """
    count = len(samples) if most is None else min(len(samples), most)
    return [samples.batch(indices) for indices in torch.arange(count).split(batch)]
