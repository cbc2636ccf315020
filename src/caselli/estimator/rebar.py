"""REBAR: the relaxation of f as the control variate."""

from __future__ import annotations

import math

import torch
from torch import Tensor, distributions, nn
from torch.distributions import Distribution

from caselli.estimator.base import Estimate, Estimator, Function, mean_estimate
from caselli.estimator.control import controlled_gradient, finish
from caselli.estimator.relaxation import as_values, positive_temperature, relaxation


class REBAR(Estimator):
    r"""The score function with f at relaxed latents as its control variate.

    .. math:: \hat g = \big(f(b) - \eta f(\tilde y)\big) \, \nabla_\theta \log p_\theta(b)
              + \eta \nabla_\theta f(y) - \eta \nabla_\theta f(\tilde y)

    y = σ_λ(z) is the relaxed latent (logistic noise for Bernoulli, Gumbel for categorical latents), b = H(z)
    the hard one, ỹ the relaxed one drawn anew given b. Unbiased for every η and λ, which are learned through
    `auxiliary_loss` = ĝ². Cost: 3 S evaluations of f in one call, and of its gradient at 2 S relaxed points;
    f must be differentiable between the atoms, twice to learn λ.

    Arguments:
        temperature: the first λ.
        scale: the first η.

    Source: Tucker et al. 2017, REBAR: Low-Variance, Unbiased Gradient Estimates for Discrete Latent Variable
    Models.

    Example:
        >>> p = torch.distributions.Bernoulli(logits=torch.zeros((), requires_grad=True))
        >>> estimate = REBAR()(lambda z: (z - 0.45) ** 2, p, samples=8)
        >>> REBAR().evaluations(p, 8)
        24
    """

    unbiased = True
    needs_gradient = True
    serves = (distributions.Bernoulli, distributions.OneHotCategorical)

    def __init__(self, temperature: float = 0.5, scale: float = 1.0) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(math.log(positive_temperature(temperature))))
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        given = relaxation(p)
        with torch.enable_grad():
            r = given.leaf()
            z = r.perturb(samples)
            hard = r.harden(z)
            heat = self.log_temperature.exp().to(z.dtype)
            points = [hard, r.soften(z, heat), r.soften(r.condition(hard), heat)]
            values = self._evaluate(f, p, as_values(p, torch.cat(points)))
            value, c, tilde = values.chunk(3)
            scale = self.scale.to(values.dtype)
            gradient = controlled_gradient(r, hard, value.detach(), scale * c, scale * tilde)
            carried, loss = finish([given.logits], [gradient], self)
        return mean_estimate(value, carried, loss)

    def evaluations(self, p: Distribution, samples: int) -> int:
        """Hard, relaxed, and relaxed given the hard value."""
        return 3 * samples
