"""Budget and optimiser of a training: plain data, validated when it is made."""

from __future__ import annotations

import dataclasses

from caselli.errors import UnknownName, expect

OPTIMISERS = ("adamw", "muon")
PARALLEL = ("replicated", "sharded")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """The budget and the optimiser of one stage."""

    steps: int = 1000
    """Optimiser steps; with `minutes` an upper bound that is ignored."""
    minutes: float | None = None
    """Wall-clock budget; the schedule then follows the clock instead of the steps."""
    batch: int = 64
    """Samples a step, over all ranks and accumulated pieces."""
    accumulate: int = 1
    """Pieces that a batch is split into to save memory."""
    parallel: str = "replicated"
    """replicated, or sharded over the ranks (FSDP2), where the network has blocks: weights, gradients and
    averages of each rank are then a part of the whole."""
    recompute: bool = False
    """Computes each block's activations again in the backward pass, to save memory."""
    compile: bool = False
    """Compiles the network's blocks, or the tokenizer's two halves, where a step is measured to be faster for
    it at the start; the last bits of a run then depend on that."""
    float8: bool = False
    """Multiplies in float8 in the linear layers of the blocks, on a GPU that has such products."""
    optimiser: str = "adamw"
    """adamw, or muon: Muon for the matrices inside the network and AdamW for the rest."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    final_learning_rate: float = 0.0
    """Share of the peak that the cosine ends at, 0 to 1."""
    warmup: int = 50
    """Steps of linear warm-up."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's averages."""
    weight_decay: float = 0.01
    """Weight decay, on matrices and kernels only."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 for no clipping."""
    ema: float = 0.999
    """Decay of the averaged weights that are validated and kept; 0 for none."""
    validations: int = 8
    """Number of validations in a run."""
    patience: int = 0
    """Validations without a lower loss after which the training ends early; 0 for none."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints."""
    checkpoint_steps: int = 0
    """Steps between checkpoints, beside the seconds; 0 for none."""

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise UnknownName("optimiser", self.optimiser, OPTIMISERS)
        if self.parallel not in PARALLEL:
            raise UnknownName("parallel", self.parallel, PARALLEL)
        expect(self.steps >= 1, "steps", self.steps, "at least 1")
        expect(self.minutes is None or self.minutes > 0, "minutes", self.minutes, "more than 0")
        expect(self.batch >= 1, "batch", self.batch, "at least 1")
        expect(
            self.accumulate >= 1 and self.batch % self.accumulate == 0,
            "accumulate",
            self.accumulate,
            f"a divisor of the batch ({self.batch})",
        )
        expect(self.learning_rate > 0, "learning_rate", self.learning_rate, "more than 0")
        expect(0 <= self.ema < 1, "ema", self.ema, "a number from 0 up to, not including, 1")
        expect(self.patience >= 0, "patience", self.patience, "0 or more")
        expect(self.validations >= 1, "validations", self.validations, "at least 1")

    def spent(self, step: int, seconds: float) -> float:
        """Share of the budget that a number of steps and of seconds have spent, 0 to 1 and more.

        Example:
            >>> TrainingConfig(steps=40).spent(10, 2.0)
            0.25
        """
        return seconds / (60 * self.minutes) if self.minutes else step / self.steps

    def end(self) -> str:
        """The end of the budget, in words.

        Example:
            >>> TrainingConfig(steps=40).end()
            'step 40'
        """
        return f"minute {self.minutes:g}" if self.minutes else f"step {self.steps}"
