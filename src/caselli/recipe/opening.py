"""What every run does before it trains: its pictures, its machine, its held-out batches."""

from __future__ import annotations

import sys
from typing import Any

import torch

from caselli import data
from caselli.data import Pictures
from caselli.engine import Machine, ranks
from caselli.errors import UserError
from caselli.recipe.config import DataConfig
from caselli.recipe.folder import RunFolder

VALIDATION_PICTURES = 1024
"""Held-out pictures looked at in each validation, at most."""


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
