"""The configuration of a run with one stage."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from caselli.engine import TrainingConfig
from caselli.errors import UserError, lookup
from caselli.family import FAMILIES, FamilyConfig, VAEConfig
from caselli.run.config import DataConfig, ReadingConfig, override
from caselli.run.folder import RunFolder


@dataclasses.dataclass(frozen=True)
class FamilyRunConfig:
    """Everything that a run of a one-stage family is made from."""

    recipe: str = "vae"
    """The recipe that the other fields started from."""
    family: str = "vae"
    """Name in `caselli.family.FAMILIES`."""
    seed: int = 0
    """Of everything random."""
    precision: str = "auto"
    """auto (measured), float32 or bfloat16 (autocast; weights stay float32)."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    """Pictures."""
    model: FamilyConfig = dataclasses.field(default_factory=VAEConfig)
    """The family's own."""
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """Budget and optimiser."""
    reading: ReadingConfig = dataclasses.field(default_factory=ReadingConfig)
    """Judging the samples of a labelled set."""


def described_config(folder: RunFolder) -> FamilyRunConfig:
    """The configuration that `run.yaml` holds.

    Errors: `UserError` for the run of a recipe with two stages.
    """
    given = folder.describe()["config"]
    if "family" not in given:
        raise UserError(
            f"{folder.path} holds a run of recipe {given.get('recipe')!r}",
            "a run of a one-stage recipe was expected",
            "choose another -o",
        )
    kind = lookup(FAMILIES, "family", given["family"]).config_kind
    return override(FamilyRunConfig(model=kind()), given)


def recipe_of_run(out: str | Path) -> str | None:
    """The recipe of a one-stage run that was begun in a folder; None where there is none."""
    folder = RunFolder(out)
    given: dict[str, Any] = folder.describe()["config"] if folder.holds_run() else {}
    return given.get("recipe") if "family" in given or "segmenter" in given else None
