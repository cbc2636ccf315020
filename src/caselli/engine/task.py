"""The contract between what is trained and the loop that trains it."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from caselli.figures import Figure
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class Losses:
    """The result of a forward pass."""

    total: Float[Tensor, ""]
    """The scalar to differentiate; each parameter's gradient is taken from it."""
    metrics: dict[str, Tensor]
    """Scalars worth a curve, detached; `loss` is added by the loop."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Parameters that are trained apart from the rest: at a rate of their own, with a gradient norm of their
    own."""

    name: str
    """For the log."""
    parameters: list[nn.Parameter]
    """Parameters of the part that are to be trained."""
    learning_rate: float
    """Peak learning rate; warm-up and decay are the training's."""
    betas: tuple[float, float]
    """AdamW's averages."""
    weight_decay: float = 0.0
    """Weight decay, on matrices and kernels only."""


class Task(nn.Module, ABC):
    """A forward pass with its losses: `task(batch, step) -> Losses`.

    It knows nothing of ranks, precision and optimisers. Where two sets of parameters pull in opposite
    directions, `total` is the sum of both losses, each cut off from the other's parameters; one of the sets
    is then a `Part`.
    """

    figures: ClassVar[Mapping[str, Figure]] = {"loss": Figure("loss", section="Training")}
    """The figures that are logged, for people; others are shown under their name."""
    progress: float = 0.0
    """Share of the budget that is spent, 0 to 1; the loop sets it before each step."""
    keeps_last: bool = False
    """Keeps the newest averaged twin and not the one with the lowest `loss`, for tasks whose held-out loss
    does not say which is better, such as adversarial ones."""

    @abstractmethod
    def forward(self, batch: Any, step: int) -> Losses:
        """The losses of one batch in training mode."""

    def validate(self, batch: Any) -> dict[str, Tensor]:
        """Scalars on a held-out batch in evaluation mode; `loss` decides which checkpoint is the best.

        By default the loss of `forward` and its metrics.
        """
        losses = self(batch, 0)
        return {"loss": losses.total.detach(), **losses.metrics}

    def views(self) -> list[Float[Tensor, "n C H W"]]:
        """Rows of pictures in [−1, 1] that show how far it is, of the validation that has just been; none by
        default."""
        return []

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The weights that Muon may take: of linear layers whose inputs and outputs are hidden; none by
        default."""
        return []

    def blocks(self) -> list[nn.Module]:
        """Parts that follow one another, to be shared out over ranks or computed twice one by one; none by
        default."""
        return []

    def compiled(self) -> list[nn.Module]:
        """Parts that a compiler may take one by one; by default the blocks."""
        return self.blocks()

    def finish(self) -> dict[str, float]:
        """Figures over all batches validated since the last call, on all ranks; none by default."""
        return {}

    def parts(self) -> list[Part]:
        """Parameters trained apart from the rest; none by default. The rest is the training's own part."""
        return []

    def advise(self) -> list[str]:
        """Sentences for the log about how the training goes; the loop asks every ten steps, on every rank.

        What it says and does must follow from the task's buffers alone, so that a resumed run does the same.
        """
        return []
