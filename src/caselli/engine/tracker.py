"""The interface of trackers: programs that show the figures of a training while it runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar


class Tracker(ABC):
    """A place that gets the figures of one training, beside the run's own log.

    A tracker is final, says the library that it needs, and is built by

    Arguments:
        folder: the run folder; what a tracker writes lies in it.
        stage: the training's name in the run, such as `tokenizer`.
        settings: the run's configuration, by dotted name.
    """

    library: ClassVar[str] = ""
    """Package that it imports, installed by the extra of the tracker's name; empty where it needs none."""

    @abstractmethod
    def __init__(self, folder: Path, stage: str, settings: Mapping[str, Any]) -> None: ...

    @abstractmethod
    def figures(self, split: str, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Takes the figures of a step.

        Arguments:
            split: `train` or `validation`.
            step: optimiser steps so far; smaller again where a training goes on from a checkpoint.
            seconds: time spent training so far.
            values: name → figure, not finite where it was not.
        """

    def close(self) -> None:  # noqa: B027, most have nothing to do
        """Called when the training ends, however it ends."""
