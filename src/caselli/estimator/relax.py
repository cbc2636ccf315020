"""RELAX: a free control variate for discrete latents."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from caselli.estimator.base import Estimate, Estimator, Function, mean_estimate
from caselli.estimator.control import Control, controlled_gradient, finish, flat
from caselli.estimator.relaxation import DISCRETE, as_values, positive_temperature, relaxation


class RELAX(Estimator):
    r"""The score function with a learned function of the relaxed latents as its control variate.

    .. math:: \hat g = \big(f(b) - c_\phi(\tilde z)\big) \, \nabla_\theta \log p_\theta(b)
              + \nabla_\theta c_\phi(z) - \nabla_\theta c_\phi(\tilde z)

    z is the continuous latent, b = H(z) the hard one, z̃ the continuous one drawn anew given b; all
    derivatives with respect to θ are kept. c reads σ_λ(z). Unbiased for every c and λ, which are learned
    through `auxiliary_loss` = ĝ². Cost: S evaluations of f, which need not be differentiable.

    Arguments:
        width: numbers in one event (for categorical latents, times the categories).
        hidden: units of the default control variate, a network with one hidden layer.
        temperature: the first λ.
        control: another control variate, `n *batch width` → `n *batch`; twice differentiable.

    Source: Grathwohl et al. 2018, Backpropagation through the Void.

    Example:
        >>> p = torch.distributions.Bernoulli(logits=torch.zeros((), requires_grad=True))
        >>> estimate = RELAX()(lambda z: (z - 0.45) ** 2, p, samples=8)
        >>> estimate.auxiliary_loss.requires_grad
        True
    """

    unbiased = True
    needs_gradient = False
    serves = DISCRETE

    def __init__(
        self,
        width: int = 1,
        *,
        hidden: int = 32,
        temperature: float = 0.5,
        control: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(math.log(positive_temperature(temperature))))
        self.control = Control(width, hidden) if control is None else control

    @classmethod
    def _width(cls, p: Distribution) -> tuple[int, ...]:
        """All of an event's relaxed numbers."""
        r = relaxation(p)
        return (math.prod(r.logits.shape[r.logits.ndim - r.axes :]),)

    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        given = relaxation(p)
        with torch.enable_grad():
            r = given.leaf()
            z = r.perturb(samples)
            hard = r.harden(z)
            values = self._evaluate(f, p, as_values(p, hard))
            heat = self.log_temperature.exp().to(z.dtype)
            soft = r.soften(torch.cat([z, r.condition(hard)]), heat)
            c, tilde = self.control(flat(soft, r.axes)).chunk(2)
            gradient = controlled_gradient(r, hard, values.detach(), c, tilde)
            carried, loss = finish([given.logits], [gradient], self)
        return mean_estimate(values, carried, loss)
