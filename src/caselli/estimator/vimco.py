"""Variational inference for Monte Carlo objectives."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution

from caselli.estimator.base import Estimate, Estimator, Function, mean_estimate
from caselli.estimator.parameters import moving_support
from caselli.estimator.relaxation import draw
from caselli.estimator.score import score_term


class VIMCO(Estimator):
    r"""The score function for a bound of several samples, each judged by what it adds to the others.

    f returns log weights, and the objective is :math:`E[\hat L]` with
    :math:`\hat L = \log \frac1S \sum_i e^{f(z_i)}`.

    .. math:: \hat g = \sum_i (\hat L - \hat L^{-i}) \, \nabla_\theta \log p_\theta(z_i)
              + \sum_i \tilde w_i \nabla_\theta f(z_i)

    In :math:`\hat L^{-i}` the mean of the other f takes the place of f(z_i) (the geometric mean of the
    weights); w̃ are the normalised weights. Unbiased. Cost: S ≥ 2 evaluations of f.

    Source: Mnih and Rezende 2016, Variational Inference for Monte Carlo Objectives.

    Example:
        >>> p = torch.distributions.Bernoulli(logits=torch.zeros((), requires_grad=True))
        >>> VIMCO()(lambda z: (z - 0.45) ** 2, p, samples=5).value.shape
        torch.Size([])
    """

    unbiased = True
    needs_gradient = False
    serves = (Distribution,)
    least_samples = 2
    objective = "log_mean_exp"

    def accepts(self, p: Distribution) -> bool:
        """True but for a support that moves with the parameters."""
        return super().accepts(p) and not moving_support(p)

    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        z = draw(p, samples)
        values = self._evaluate(f, p, z)
        bound = torch.logsumexp(values, 0) - math.log(samples)
        signal = samples * (bound.detach() - _without(values.detach()))  # the term is a mean over samples
        return mean_estimate(bound[None], score_term(p, z, signal))


def _without(values: Tensor) -> Tensor:
    """The bound with each sample's log weight replaced by the mean of the others: `samples *batch`."""
    count = len(values)
    others = (values.sum(0) - values) / (count - 1)
    return torch.logaddexp(_sum_of_others(values), others) - math.log(count)


def _sum_of_others(values: Tensor) -> Tensor:
    """The log of the sum of the other weights: by subtraction, except for the largest, where that cancels."""
    top, where = values.max(0, keepdim=True)
    largest = torch.zeros_like(values, dtype=torch.bool).scatter_(0, where, True)
    weights = (values - top).exp()
    rest = torch.where(largest, 1.0, weights.sum(0) - weights).log() + top
    return torch.where(largest, values.masked_fill(largest, -torch.inf).logsumexp(0), rest)
