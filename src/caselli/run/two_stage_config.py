"""The configuration of a run of two stages."""

from __future__ import annotations

import dataclasses

from torch import nn

from caselli.engine import TrainingConfig
from caselli.errors import expect, lookup
from caselli.features import TEACHERS, MomentDistance, pyramid, seen_by
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
    decoder: TrainingConfig = dataclasses.field(
        default_factory=lambda: TrainingConfig(
            steps=400, batch=64, learning_rate=3e-4, betas=(0.9, 0.99), weight_decay=0.0, warmup=20, ema=0.99
        )
    )
    """Budget and optimiser of the last stage, which `caselli refine` and the recipe auto have."""
    guide: TrainingConfig = dataclasses.field(
        default_factory=lambda: TrainingConfig(
            steps=350,
            batch=64,
            optimiser="muon",
            learning_rate=5e-3,
            betas=(0.9, 0.99),
            weight_decay=0.1,
            ema=0.99,
        )
    )
    """Budget and optimiser of the weaker prior that `caselli guide` trains."""
    early_guide: float = 0.0
    """Share of the prior's training after which its averaged weights are kept as a guide, which the finished
    prior is led away from in drawing, by the prior's own guidance, or by 2 where that is 1; see
    `caselli.sampling.GuidedEngine`. 0 for none."""

    def __post_init__(self) -> None:
        expect(
            0 <= self.early_guide < 1, "training.early_guide", self.early_guide, "0 or more and less than 1"
        )


@dataclasses.dataclass(frozen=True)
class RefinementConfig:
    """Training the decoder further on what the prior draws."""

    drawn: int = 4000
    """Pictures whose codes are drawn from the prior beforehand."""
    weight: float = 0.2
    """Weight of the distance of drawn pictures from real ones, as sets, beside the reconstruction's loss."""
    network: str = "efficientnet-lite1"
    """Network whose maps' moments are compared: efficientnet-lite0, 1 or 2; where its weights are not
    installed, the moments of values and slopes at several scales."""

    def __post_init__(self) -> None:
        lookup(TEACHERS, "refinement network", self.network)
        expect(self.drawn >= 1, "refinement drawn", self.drawn, "at least 1")
        expect(self.weight >= 0, "refinement weight", self.weight, "0 or more")

    def teachers(self) -> tuple[str, ...]:
        """Networks of features that the refinement uses, and that may not judge the result."""
        return (self.network,) if TEACHERS[self.network].is_installed() else ()

    def distance(self) -> MomentDistance:
        """The distance of sets, which has yet to see real pictures."""
        if not self.teachers():
            return MomentDistance(nn.Identity(), pyramid)
        network = TEACHERS[self.network].load()
        return MomentDistance(network, seen_by(network))


@dataclasses.dataclass(frozen=True)
class TwoStageConfig(RunConfig):
    """The configuration of a tokenizer and a prior over its codes."""

    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    """First stage."""
    prior: PriorConfig = dataclasses.field(default_factory=PriorConfig)
    """Second stage."""
    refinement: RefinementConfig = dataclasses.field(default_factory=RefinementConfig)
    """Last stage."""
    training: StagesConfig = dataclasses.field(default_factory=StagesConfig)
    """Budgets and optimisers."""
    reading: ReadingConfig = dataclasses.field(default_factory=ReadingConfig)
    """Judgement of the samples."""
    rate: float | None = None
    """Operations per second of all devices together, by which the recipe auto chooses; None to measure."""
