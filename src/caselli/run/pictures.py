"""The pictures of a run: opened, and in batches for validation."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from caselli import data, ranks
from caselli.data import Pictures, PictureStream, Request, default_workers, open_shards, shard_pictures
from caselli.errors import UserError
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
    """The pictures that are trained on; of a stream those of its first shard, to be looked at."""
    classes: tuple[str, ...]
    """Names of the labels, or of the classes of pixels."""
    fingerprint: str
    """16 hex digits that change when the data do."""
    met: Callable[[], list[str]] = list
    """Gives sentences on bad pictures that were met since, where they are read as they come."""
    planned: int | None = None
    """Number of pictures that a run is planned for, instead of the set's."""

    @classmethod
    def of(cls, pictures: Pictures) -> Data:
        """A set whose facts alone are wanted: all of it, with nothing held out."""
        return cls(pictures, pictures, pictures, pictures.classes, pictures.fingerprint)

    @property
    def number(self) -> int:
        """Number of samples to train on, all of a stream's."""
        return len(self.train) if self.planned is None else self.planned


def remembered(source: str | Path) -> str:
    """A source as a run remembers it: as it was given, but `.` and `..` in full, which are other folders
    elsewhere.

    Example:
        >>> remembered("glyphs"), Path(remembered(".")).is_absolute()
        ('glyphs', True)
    """
    path = Path(source)
    is_here = path.name in ("", "..") and str(source) and path.is_dir()
    return str(path.resolve()) if is_here else str(source)


def open_pictures(config: DataConfig, progress: bool) -> Data:
    """Both parts of a set of pictures."""
    if config.stream:
        return _streamed(config, progress)
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


def _streamed(config: DataConfig, progress: bool) -> Data:
    """Pictures that are streamed; the last shard is held out, and the first one stands for the set where some
    of its pictures are looked at."""
    whole = open_shards(os.path.expanduser(config.source))
    if len(whole.paths) < 2:
        raise UserError(
            f"{config.source} was given to be streamed: one shard",
            "at least two were expected: the last one is held out",
        )
    request = Request(config.size, config.channels, config.workers, progress=shows(progress))
    first = shard_pictures(whole, 0, request)
    request = dataclasses.replace(request, size=first.size, channels=first.channels)
    held_out = shard_pictures(whole, len(whole.paths) - 1, request)
    workers = default_workers(len(first)) if config.workers is None else config.workers
    shards = whole.part(range(len(whole.paths) - 1))
    stream = PictureStream(shards, first.size, first.channels, config.buffer, workers)
    return Data(stream, held_out, first, whole.classes, whole.fingerprint, stream.words)


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
