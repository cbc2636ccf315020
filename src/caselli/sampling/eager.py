"""The engine that defines the others: PyTorch's operations one by one."""

from __future__ import annotations

import torch

from caselli.prior import Prior
from caselli.sampling.base import Engine
from caselli.sampling.drawing import SeededDrawing
from caselli.sampling.rounding import rounded


class EagerEngine(Engine):
    """PyTorch's operations one by one, on any device, for any prior: the definition.

    Arguments:
        prior: the distribution, in evaluation mode.
        precision: its linear layers' weights are rounded to it; None leaves them as they are.
    """

    def __init__(self, prior: Prior, precision: str | None = None) -> None:
        self.prior = prior if precision is None else rounded(prior, precision)
        self.precision, self.state_bytes = precision, 0

    @property
    def name(self) -> str:
        return "step by step in PyTorch"

    @torch.no_grad()
    def draw(self, drawing: SeededDrawing) -> None:
        self.state_bytes = self.prior.draw(drawing)

    def bytes_per_step(self) -> int:
        return self.prior.weight_bytes() + self.state_bytes // 2
