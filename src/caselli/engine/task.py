"""The contract between what is trained and the loop that trains it."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any

from torch import nn

from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class Losses:
    """What a forward pass gives."""

    total: Float[Tensor, ""]
    """The scalar to differentiate; each parameter's gradient is taken from it."""
    metrics: dict[str, Tensor]
    """Scalars worth a curve, detached; `loss` is added by the loop."""


class Task(nn.Module, ABC):
    """A forward pass with its losses: `task(batch, step) -> Losses`.

    It knows nothing of ranks, precision and optimisers. Where two sets of parameters pull in opposite
    directions, `total` is the sum of both losses, each cut off from the other's parameters.
    """

    @abstractmethod
    def forward(self, batch: Any, step: int) -> Losses:
        """The losses of one batch in training mode."""

    @abstractmethod
    def validate(self, batch: Any) -> dict[str, Tensor]:
        """Scalars on a held-out batch in evaluation mode; `loss` decides which checkpoint is the best."""

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The weights that Muon may take: of linear layers whose inputs and outputs are hidden; none by
        default."""
        return []

    def finish(self) -> dict[str, float]:
        """Figures over all batches validated since the last call; none by default."""
        return {}
