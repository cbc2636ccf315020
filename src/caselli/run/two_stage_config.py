"""The configuration of a run of two stages."""

from __future__ import annotations

import dataclasses

from caselli.engine import TrainingConfig
from caselli.features import TEACHERS
from caselli.prior import PriorConfig
from caselli.run.config import ReadingConfig, RunConfig
from caselli.tokenizer import AdversarialConfig, TokenizerConfig


@dataclasses.dataclass(frozen=True)
class StagesConfig:
    """Budget and optimiser of each stage."""

    tokenizer: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """Budget and optimiser of the first stage."""
    prior: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """Budget and optimiser of the second stage."""
    decoder: TrainingConfig = dataclasses.field(
        default_factory=lambda: TrainingConfig(
            steps=400, batch=32, learning_rate=3e-4, betas=(0.0, 0.99), weight_decay=0.0, warmup=20, ema=0.99
        )
    )
    """Budget and optimiser of the third stage, which `caselli refine` and the recipe auto have."""


@dataclasses.dataclass(frozen=True)
class RefinementConfig:
    """Training the decoder further on what the prior draws."""

    drawn: int = 4000
    """Pictures whose codes are drawn from the prior beforehand."""
    adversarial: AdversarialConfig = dataclasses.field(
        default_factory=lambda: AdversarialConfig(
            weight=1.0,
            discriminator="projected",
            width=32,
            augment=True,
            learning_rate=1e-3,
            betas=(0.0, 0.99),
            start=0.0,
            warmup=0.1,
            ramp=0.0,
        )
    )
    """The discriminator of drawn and reconstructed pictures; one of patches without the `eyes` extra."""

    def at_hand(self) -> RefinementConfig:
        """The configuration, with a discriminator of patches for one whose weights are not installed."""
        own, options = self.adversarial, self.adversarial.discriminator_options
        if own.discriminator != "projected" or "weights" in options:
            return self
        if all(TEACHERS[name].is_installed() for name in own.teachers()):
            return self
        return dataclasses.replace(
            self,
            adversarial=dataclasses.replace(
                own, discriminator="patch", discriminator_options={"layers": 2, "norm": "group"}
            ),
        )


@dataclasses.dataclass(frozen=True)
class TwoStageConfig(RunConfig):
    """The configuration of a tokenizer and a prior over its codes."""

    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    """First stage."""
    prior: PriorConfig = dataclasses.field(default_factory=PriorConfig)
    """Second stage."""
    refinement: RefinementConfig = dataclasses.field(default_factory=RefinementConfig)
    """Third stage."""
    training: StagesConfig = dataclasses.field(default_factory=StagesConfig)
    """Budgets and optimisers."""
    reading: ReadingConfig = dataclasses.field(default_factory=ReadingConfig)
    """Judgement of the samples."""
