"""Baselines, subtracted from f before it weighs a score: they change the variance, not the mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import nn
from torch.distributions import Distribution

from caselli.errors import UserError
from caselli.estimator.parameters import features, leaves, with_parameters
from caselli.estimator.relaxation import log_prob
from caselli.shapes import Float, Tensor


class Baseline(nn.Module, ABC):
    """`baseline(values, z, p, context)` is c, which broadcasts to the values `samples *batch`.

    c for a sample never depends on that sample. A c that needs a gradient is trained towards the values by
    the estimator's `auxiliary_loss`.
    """

    least_samples: ClassVar[int] = 1

    @abstractmethod
    def forward(
        self, values: Float[Tensor, "..."], z: Tensor, p: Distribution, context: Tensor | None
    ) -> Float[Tensor, "..."]:
        """c, from detached values of f at samples z of p."""


class NoBaseline(Baseline):
    """c = 0."""

    def forward(self, values: Tensor, z: Tensor, p: Distribution, context: Tensor | None) -> Tensor:
        return torch.zeros_like(values)


class MovingAverage(Baseline):
    """The exponential moving average of f over earlier calls; updated in training mode only.

    Arguments:
        decay: the share of the old average that is kept at each call, in [0, 1).
    """

    average: Tensor
    weight: Tensor

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise UserError(f"decay {decay} was given", "a number in [0, 1) was expected")
        self.decay = decay
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))

    def forward(self, values: Tensor, z: Tensor, p: Distribution, context: Tensor | None) -> Tensor:
        # The weight corrects the start from zero, as in Adam. New tensors, because c must stay what it was.
        c = self.average.to(values) / self.weight.to(values).clamp_min(1e-12)
        if self.training:
            new = values.mean().to(self.average)
            self.average = self.decay * self.average.to(new.device) + (1 - self.decay) * new
            self.weight = self.decay * self.weight.to(new.device) + (1 - self.decay)
        return c.expand_as(values)


class Learned(Baseline):
    """A network of the context, trained towards f by least squares.

    Arguments:
        width: numbers in the context of one batch element; without a context, p's parameters.
        hidden: units of the one hidden layer.
    """

    def __init__(self, width: int = 1, hidden: int = 64) -> None:
        super().__init__()
        self.width = width
        self.network = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, values: Tensor, z: Tensor, p: Distribution, context: Tensor | None) -> Tensor:
        read = features(p) if context is None else context.detach()
        if read.shape[-1] != self.width:
            raise UserError(
                f"a context of {read.shape[-1]} numbers was given",
                f"{self.width} were expected",
                f"build it with width={read.shape[-1]}",
            )
        read = read.to(next(self.parameters()).dtype)
        return self.network(read).squeeze(-1).to(values.dtype).expand_as(values)


class LeaveOneOut(Baseline):
    """The mean of f over the other samples; needs two."""

    least_samples = 2

    def forward(self, values: Tensor, z: Tensor, p: Distribution, context: Tensor | None) -> Tensor:
        return (values.sum(0) - values) / (len(values) - 1)


class Optimal(Baseline):
    r"""The constant of least variance, :math:`E[f \|s\|^2] / E[\|s\|^2]`, from the other samples; needs two.

    s is the score with respect to p's parameters.
    """

    least_samples = 2

    def forward(self, values: Tensor, z: Tensor, p: Distribution, context: Tensor | None) -> Tensor:
        square = _squared_scores(z, p)
        weighed = values * square
        total = square.sum(0) - square
        return (weighed.sum(0) - weighed) / total.clamp_min(torch.finfo(total.dtype).tiny)


def _squared_scores(z: Tensor, p: Distribution) -> Tensor:
    """‖∇ log p(z)‖², `samples *batch`: each sample gets its own copy of the parameters."""
    with torch.enable_grad():
        copies = leaves(p, (len(z),))
        total = log_prob(with_parameters(p, copies), z[None]).sum()
        scores = torch.autograd.grad(total, list(copies.values()))
    shape = (len(z), *p.batch_shape)
    return torch.stack([s.reshape(*shape, -1).square().sum(-1) for s in scores]).sum(0)


BASELINES: dict[str, type[Baseline]] = {
    "none": NoBaseline,
    "moving_average": MovingAverage,
    "learned": Learned,
    "leave_one_out": LeaveOneOut,
    "optimal": Optimal,
}
"""The baselines by name."""
