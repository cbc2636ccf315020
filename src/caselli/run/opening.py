"""What every run does before it trains: its pictures, its machine, its held-out batches."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from caselli import data, ranks
from caselli.data import Pictures
from caselli.engine import Log, Machine, machine
from caselli.errors import UserError
from caselli.run.config import DataConfig
from caselli.run.folder import RunFolder

VALIDATION_PICTURES = 1024
"""Held-out pictures looked at in each validation, at most."""


def enter(out: str | Path, resume: bool) -> tuple[RunFolder, bool]:
    """The run folder, and whether it holds a run to go on with.

    Errors: `UserError` for a folder of other things, and for a run that nobody said to resume.
    """
    ranks.start()
    folder = RunFolder(out)
    folder.refuse_foreign()
    begun = folder.holds_run()
    ranks.wait()  # all have looked before the first rank writes
    if begun and not resume:
        raise UserError(
            f"{out} holds a run already",
            "a new folder was expected",
            "go on with --resume, or choose another -o",
        )
    return folder, begun


def one_stage_budget(size: int | None, minutes: float | None, steps: int | None) -> dict[str, Any]:
    """The changes that these arguments stand for in a run of one stage.

    Example:
        >>> one_stage_budget(None, None, 10)
        {'training.steps': 10, 'training.minutes': None}
    """
    changes: dict[str, Any] = {} if size is None else {"data.size": size}
    if minutes is not None:
        changes["training.minutes"] = minutes
    if steps is not None:
        changes |= {"training.steps": steps, "training.minutes": None}
    return changes


def settle(folder: RunFolder, config: Any, fingerprint: str) -> Machine:
    """Writes what a new run is; its machine, which the first rank decides for all.

    Arguments:
        folder: of the run.
        config: with a `precision`.
        fingerprint: of the data.
    """
    if ranks.is_first():
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.write(config, fingerprint, machine(config.precision))
    ranks.wait()
    return recorded_machine(folder)


def say_pictures(folder: RunFolder, pictures: Pictures, held_out: Pictures, where: Machine) -> None:
    """How many pictures there are and which were skipped, in the log and for the report."""
    log = Log(folder.path, "data")
    log.say(f"{len(pictures)} pictures to train on, {len(held_out)} held out; {where.reason}")
    for bad in pictures.bad:
        log.say(f"skipped {bad.name}: {bad.reason}")
    if ranks.is_first():
        folder.add_results(data=data_figures(pictures, held_out))


def open_pictures(config: DataConfig, progress: bool) -> Pictures:
    """All pictures of a run, both splits."""
    return data.open(
        config.source,
        size=config.size,
        channels=config.channels,
        split="all",
        workers=config.workers,
        progress=progress and ranks.is_first() and sys.stderr.isatty(),
    )


def expect_same(folder: RunFolder, source: str, fingerprint: str) -> None:
    """A run goes on with the data that it was begun with.

    Errors: `UserError` where the data of `source` have another fingerprint.
    """
    expected = folder.describe()["data_fingerprint"]
    if fingerprint != expected:
        raise UserError(
            f"the pictures of {source} have changed since the run in {folder.path} was begun",
            f"fingerprint {expected} was expected, {fingerprint} found",
            "restore them, or begin a new run with another -o",
        )


def recorded_machine(folder: RunFolder) -> Machine:
    """The machine as `run.yaml` has it: the precision of a run is decided once, on one rank."""
    recorded = folder.describe()["machine"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Machine(device, recorded["precision"], recorded["reason"])


def data_figures(pictures: Pictures, held_out: Pictures) -> dict[str, Any]:
    """What the report says of the pictures."""
    return {
        "name": pictures.name,
        "count": len(pictures),
        "held_out": len(held_out),
        "size": pictures.size,
        "channels": pictures.channels,
        "classes": len(pictures.classes),
        "class_names": list(pictures.classes),
        "bad": [{"name": bad.name, "reason": bad.reason} for bad in pictures.bad],
    }


def validation_batches(pictures: Pictures, batch: int) -> list[data.Batch]:
    """The held-out batches of each validation."""
    parts = torch.arange(min(len(pictures), VALIDATION_PICTURES)).split(batch)
    return [pictures.batch(i) for i in parts]
