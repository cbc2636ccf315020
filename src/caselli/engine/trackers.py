"""The table of trackers, and those that follow one training."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from caselli import ranks
from caselli.engine.tracker import Tracker
from caselli.engine.tracker_json import JsonLines
from caselli.engine.tracker_tensorboard import TensorBoard
from caselli.engine.tracker_wandb import WeightsAndBiases
from caselli.errors import MissingExtra, lookup

TRACKERS: dict[str, type[Tracker]] = {
    "json": JsonLines,
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
}
"""Name → what follows a training, by `--track NAME`."""


def expect_trackers(names: Sequence[str]) -> None:
    """Raises a `UserError` for a tracker that there is not, or whose library is not installed.

    Example:
        >>> expect_trackers(["json"])
    """
    for name in names:
        library = lookup(TRACKERS, "tracker", name).library
        if library and importlib.util.find_spec(library) is None:
            raise MissingExtra(f"--track {name}", library, name)


@contextmanager
def tracked(
    names: Sequence[str], folder: Path, stage: str, settings: Mapping[str, Any]
) -> Iterator[list[Tracker]]:
    """Trackers that follow a training, closed behind it; none but on the first rank.

    Arguments:
        names: entries of `TRACKERS`.
        folder, stage, settings: as `Tracker` takes them.
    """
    with ExitStack() as stack:
        kinds = [TRACKERS[name] for name in names] if ranks.is_first() else []
        yield [stack.enter_context(closing(kind(folder, stage, settings))) for kind in kinds]
