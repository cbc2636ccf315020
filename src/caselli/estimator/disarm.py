"""ARM with its noise integrated out."""

from __future__ import annotations

import torch
from torch import Tensor, distributions
from torch.distributions import Distribution

from caselli.estimator.arm import antithetic_pair
from caselli.estimator.base import Estimate, Estimator, Function, mean_estimate
from caselli.estimator.relaxation import as_values, mean_product
from caselli.ops import inject_gradient


class DisARM(Estimator):
    r"""The expectation of ARM given its two samples, for Bernoulli latents with logits φ (U2G).

    .. math:: \hat g = \tfrac12 (f(b_1) - f(b_2)) \, (-1)^{b_2} \, 1[b_1 \ne b_2] \, \sigma(|\phi|)

    Unbiased, and never of larger variance than ARM. Cost: 2 S evaluations of f in one call, which need not be
    differentiable.

    Sources: Dong, Mnih and Tucker 2020, DisARM: An Antithetic Gradient Estimator for Binary Latent Variables;
    Yin et al. 2020, Probabilistic Best Subset Selection via Gradient-Based Optimization.

    Example:
        >>> p = torch.distributions.Bernoulli(logits=torch.zeros((), requires_grad=True))
        >>> estimate = DisARM()(lambda z: (z - 0.45) ** 2, p, samples=1)
        >>> round(torch.autograd.grad(estimate.surrogate, p.logits)[0].item(), 6)  # exact at logit 0
        0.025
    """

    unbiased = True
    needs_gradient = False
    serves = (distributions.Bernoulli,)

    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        pair = antithetic_pair(p, samples)
        values = self._evaluate(f, p, as_values(p, torch.cat([pair.first, pair.second])))
        first, second = values.detach().chunk(2)
        signs = pair.first - pair.second  # (-1)^b2 where they differ, 0 where they agree
        weight = torch.sigmoid(pair.logits.detach().abs()) / 2
        gradient = mean_product(first - second, signs) * weight
        return mean_estimate(values, inject_gradient(pair.logits, gradient))

    def evaluations(self, p: Distribution, samples: int) -> int:
        """Both ends of every pair."""
        return 2 * samples
