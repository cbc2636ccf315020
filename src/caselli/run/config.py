"""The configuration that every kind of run has; what `run.yaml` holds and dotted names change."""

from __future__ import annotations

import dataclasses

from caselli.errors import expect


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the pictures come from and how they are varied."""

    source: str = "glyphs"
    """Anything that `caselli.data.open` opens."""
    size: int | None = None
    """Height and width in pixels; None for the set's own."""
    channels: int | None = None
    """1 grey, 3 colour; None for the set's own."""
    flip: bool = False
    """Mirrors half of the pictures left to right."""
    shift: int = 0
    """Largest random shift in pixels."""
    views: int = 1
    """Varied versions of each picture that the prior learns from; the first is the picture itself."""
    workers: int | None = None
    """Processes that decode; None for as many as there are cores, 0 for none."""
    stream: bool = False
    """Reads tar shards one after the other, and keeps no list of all pictures; the last shard is held out."""
    buffer: int = 4096
    """Pictures that are shuffled among each other at a time, where they are streamed."""
    paired: str = ""
    """Pictures that belong to those of the source, by equal names but for the suffix, for a prior with
    `condition_picture: paired`: depth, outlines, masks."""

    def __post_init__(self) -> None:
        for name in ("views", "buffer"):
            expect(getattr(self, name) >= 1, f"data.{name}", getattr(self, name), "1 or more")


@dataclasses.dataclass(frozen=True)
class ReadingConfig:
    """The judgement of samples: by a classifier of the labels, and by a network of features."""

    seconds: float = 20.0
    """Seconds that a classifier is trained on real pictures with labels; 0 for none."""
    samples: int = 992
    """Samples that it is given, about, in equal numbers for each label."""
    judged: int = 256
    """Samples, reconstructions and held-out pictures compared as sets by an EfficientNet-Lite that did not
    train the run, at most; 0 for no judgement. None is made below 64, or without the `eyes` extra."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The configuration of a run of any kind; each kind adds its own fields."""

    recipe: str = ""
    """The recipe that the other fields started from."""
    seed: int = 0
    """Seed of everything random."""
    precision: str = "auto"
    """auto (measured), float32 or bfloat16 (autocast; weights stay float32)."""
    track: tuple[str, ...] = ()
    """Trackers that get the figures beside the log, see `caselli list tracker`."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    """Pictures."""
