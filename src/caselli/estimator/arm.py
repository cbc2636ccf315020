"""Augment-REINFORCE-merge."""

from __future__ import annotations

import torch
from torch import Tensor, distributions
from torch.distributions import Distribution

from caselli.estimator.base import Estimate, Estimator, Function, mean_estimate
from caselli.estimator.relaxation import as_values, mean_product, relaxation, uniform
from caselli.ops import inject_gradient


class ARM(Estimator):
    r"""Antithetic uniform noise in place of a baseline, for Bernoulli latents with logits φ.

    .. math:: \hat g = (f(b_1) - f(b_2)) (u - \tfrac12), \quad
              b_1 = 1[u > 1 - \sigma(\phi)], \; b_2 = 1[u < \sigma(\phi)], \quad u \sim U(0, 1)

    Unbiased. Cost: 2 S evaluations of f in one call, which need not be differentiable.

    Source: Yin and Zhou 2019, ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary Networks.

    Example:
        >>> p = torch.distributions.Bernoulli(logits=torch.zeros((), requires_grad=True))
        >>> ARM()(lambda z: (z - 0.45) ** 2, p, samples=8).surrogate.requires_grad
        True
    """

    unbiased = True
    needs_gradient = False
    serves = (distributions.Bernoulli,)

    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        pair = antithetic_pair(p, samples)
        values = self._evaluate(f, p, as_values(p, torch.cat([pair.first, pair.second])))
        first, second = values.detach().chunk(2)
        gradient = mean_product(first - second, pair.u - 0.5)
        return mean_estimate(values, inject_gradient(pair.logits, gradient))

    def evaluations(self, p: Distribution, samples: int) -> int:
        """Both ends of every pair."""
        return 2 * samples


class Pair:
    """Two Bernoulli samples from u and 1 - u."""

    def __init__(self, u: Tensor, logits: Tensor) -> None:
        self.u, self.logits = u, logits
        fixed = logits.detach()
        self.first = (u > torch.sigmoid(-fixed)).to(u.dtype)
        self.second = (u < torch.sigmoid(fixed)).to(u.dtype)


def antithetic_pair(p: Distribution, samples: int) -> Pair:
    """The pair of ARM and DisARM: `samples *batch *event` each."""
    logits = relaxation(p).logits
    return Pair(uniform(logits, (samples, *logits.shape)), logits)
