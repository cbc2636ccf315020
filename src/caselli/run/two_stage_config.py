"""The configuration of a run of two stages."""

from __future__ import annotations

import dataclasses

from caselli.engine import TrainingConfig
from caselli.prior import PriorConfig
from caselli.run.config import ReadingConfig, RunConfig
from caselli.tokenizer import TokenizerConfig


@dataclasses.dataclass(frozen=True)
class StagesConfig:
    """Budget and optimiser of each stage."""

    tokenizer: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """Budget and optimiser of the first stage."""
    prior: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """Budget and optimiser of the second stage."""


@dataclasses.dataclass(frozen=True)
class TwoStageConfig(RunConfig):
    """The configuration of a tokenizer and a prior over its codes."""

    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    """First stage."""
    prior: PriorConfig = dataclasses.field(default_factory=PriorConfig)
    """Second stage."""
    training: StagesConfig = dataclasses.field(default_factory=StagesConfig)
    """Budgets and optimisers."""
    reading: ReadingConfig = dataclasses.field(default_factory=ReadingConfig)
    """Judgement of the samples."""
