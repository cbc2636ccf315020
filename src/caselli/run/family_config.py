"""The configuration of a run with one stage."""

from __future__ import annotations

import dataclasses

from caselli.engine import TrainingConfig
from caselli.family import FamilyConfig, VAEConfig
from caselli.run.config import ReadingConfig, RunConfig


@dataclasses.dataclass(frozen=True)
class FamilyRunConfig(RunConfig):
    """The configuration of a one-stage family."""

    family: str = "vae"
    """Name in `caselli.family.FAMILIES`."""
    model: FamilyConfig = dataclasses.field(default_factory=VAEConfig)
    """The family's own fields."""
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """Budget and optimiser."""
    reading: ReadingConfig = dataclasses.field(default_factory=ReadingConfig)
    """Judgement of the samples of a labelled set."""
