"""The contract of every estimator of the gradient of an expectation."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import nn
from torch.distributions import Distribution

import caselli.estimator as room  # the door's table is whole by the time that this is called
from caselli.errors import UserError
from caselli.estimator.parameters import unwrap
from caselli.ops import inject_gradient
from caselli.shapes import Float, Tensor

Function = Callable[[Tensor], Tensor]
"""f: `samples *batch *event` → `samples *batch`, any number in front."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimate of an expectation and of its gradient."""

    value: Float[Tensor, "..."]
    """`*batch`: the estimate of the objective itself, detached."""
    surrogate: Float[Tensor, ""]
    """The sum of `value` over the batch; its gradient, with respect to the parameters of p and to all that f
    holds, is the estimate. Divide by the number of batch elements for a mean."""
    auxiliary_loss: Float[Tensor, ""]
    """Trains the estimator's own parameters and touches nothing else; zero where there are none."""


class Estimator(nn.Module, ABC):
    r"""Estimates the gradient of :math:`L = E_{z \sim p_\theta}[f(z)]`.

    `estimator(f, p, samples)` draws z of shape `samples *batch *event` from p and calls f on it, once where
    the method allows. Latents that f joins into one number must be one event: `Independent(Bernoulli(...),
    1)`. In training mode moving averages are updated and `auxiliary_loss` is filled; in evaluation mode
    neither.

    Every parameter and average of an estimator is in its `state_dict`.
    """

    unbiased: ClassVar[bool]
    """True where the expected gradient is the true one, for every f."""
    needs_gradient: ClassVar[bool]
    """True where f must be differentiable in z, and accept values between the atoms."""
    serves: ClassVar[tuple[type[Distribution], ...]]
    """The families served, bare or wrapped in `Independent`."""
    least_samples: ClassVar[int] = 1
    """The fewest samples that make an estimate."""
    objective: ClassVar[str] = "mean"
    """Quantity that is estimated: the `mean` of f, or `log_mean_exp` of f over the samples."""

    def forward(
        self, f: Function, p: Distribution, samples: int = 1, context: Tensor | None = None
    ) -> Estimate:
        """The estimate from `samples` draws.

        Arguments:
            f: maps `n *batch *event` to `n *batch`, any n.
            p: the distribution, its parameters on the graph.
            samples: how many draws.
            context: `*batch C`, what a learned baseline may read; without it, p's own parameters.

        Raises:
            UserError: p is of a family that is not served, too few samples, f of a wrong shape or, where f
                must be differentiable, without a gradient.
        """
        self._expect_served(p)
        if samples < self.least_samples:
            raise UserError(
                f"{samples} samples were given",
                f"{type(self).__name__} needs at least {self.least_samples}",
            )
        return self.estimate(f, p, samples, context)

    @classmethod
    def fitting(cls, p: Distribution) -> Estimator:
        """One with default settings whose own networks have the width that p needs.

        Raises:
            UserError: p is of a family that is not served.
        """
        cls()._expect_served(p)
        return cls(*cls._width(p))

    @classmethod
    def _width(cls, p: Distribution) -> tuple[int, ...]:
        """The width that `fitting` gives to the constructor; nothing where there are no networks."""
        return ()

    def accepts(self, p: Distribution) -> bool:
        """True if p is of a family that is served."""
        return isinstance(unwrap(p), self.serves)

    @abstractmethod
    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        """`forward` after the checks."""

    def evaluations(self, p: Distribution, samples: int) -> int:
        """Number of evaluations of f for each batch element."""
        return samples

    def _expect_served(self, p: Distribution) -> None:
        if self.accepts(p):
            return
        raise UserError(
            f"a {type(unwrap(p)).__name__} was given",
            f"{type(self).__name__} serves {', '.join(kind.__name__ for kind in self.serves)}",
            f"for this distribution: {', '.join(serving(p, differentiable=True)) or 'none'}",
        )

    def _evaluate(self, f: Function, p: Distribution, z: Tensor) -> Tensor:
        """f(z), with its shape and, where it is needed, its gradient checked."""
        values = f(z)
        expected = (z.shape[0], *p.batch_shape)
        if values.shape != expected:
            raise UserError(
                f"f returned shape {tuple(values.shape)} for z of shape {tuple(z.shape)}",
                f"{expected} was expected, one number for every sample and batch element",
                "latents that share one number are one event: wrap p in torch.distributions.Independent",
            )
        if self.needs_gradient and z.requires_grad and not values.requires_grad:
            raise UserError(
                "f returned values without a gradient in z",
                f"{type(self).__name__} needs a differentiable f",
                f"for any f: {', '.join(serving(p, differentiable=False))}",
            )
        return values


def mean_estimate(
    values: Tensor, gradient: Tensor | float = 0.0, auxiliary_loss: Tensor | None = None
) -> Estimate:
    """The mean over samples, with `gradient` (a zero that carries a gradient) added to the surrogate."""
    mean = values.mean(0)
    return Estimate(
        value=mean.detach(),
        surrogate=mean.sum() + gradient,
        auxiliary_loss=mean.new_zeros(()) if auxiliary_loss is None else auxiliary_loss,
    )


def squared_norm(gradients: Sequence[Tensor], own: Sequence[nn.Parameter]) -> Float[Tensor, ""]:
    r"""The squared norm of an estimate as a loss for the estimator's own parameters alone.

    The estimate is unbiased whatever they are, so the gradient of its variance is that of
    :math:`E[\hat g^2]`.
    """
    loss = torch.stack([g.square().sum() for g in gradients]).sum()
    slopes = torch.autograd.grad(loss, list(own), retain_graph=True, allow_unused=True)
    injected = [inject_gradient(w, slope) for w, slope in zip(own, slopes, strict=True) if slope is not None]
    return loss.detach() + sum(injected)


def serving(p: Distribution, differentiable: bool) -> list[str]:
    """Names of the unbiased estimators that serve p, for an f with or without a gradient."""
    made = {name: kind() for name, kind in room.ESTIMATORS.items() if kind.unbiased}
    return [name for name, e in made.items() if e.accepts(p) and (differentiable or not e.needs_gradient)]
