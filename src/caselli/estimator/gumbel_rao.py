"""Straight-through Gumbel-Softmax with its noise averaged out."""

from __future__ import annotations

import torch
from torch import Tensor, distributions
from torch.distributions import Distribution

from caselli.errors import UserError
from caselli.estimator.base import Estimate, Estimator, Function, mean_estimate
from caselli.estimator.relaxation import as_values, pass_straight_through, positive_temperature, relaxation


class GumbelRao(Estimator):
    r"""Straight-through Gumbel-Softmax, its Jacobian averaged over noise that gives the same hard sample.

    .. math:: \hat g = \frac1K \sum_k \nabla_\theta y^{(k)} \cdot f'(D), \quad
              y^{(k)} = \mathrm{softmax}((\theta + G^{(k)}) / \tau), \; G^{(k)} \sim p(G \mid D)

    Biased, with the mean of `straight_through_gumbel` and no larger variance. The conditional noise counts as
    a constant: its own dependence on θ would change the mean. Cost: S evaluations of f and of its gradient; K
    Jacobians are cheap.

    Arguments:
        temperature: τ > 0; a plain attribute that a schedule may set at every step.
        draws: K; the published experiments use 10 to 1000.

    Source: Paulus, Maddison and Krause 2021, Rao-Blackwellizing the Straight-Through Gumbel-Softmax Gradient
    Estimator.

    Example:
        >>> p = distributions.OneHotCategorical(logits=Tensor([0.0, 1.0]).requires_grad_())
        >>> GumbelRao(0.5, draws=10)(lambda z: z[..., 0] ** 2, p, samples=4).surrogate.requires_grad
        True
    """

    unbiased = False
    needs_gradient = True
    serves = (distributions.Bernoulli, distributions.OneHotCategorical)

    def __init__(self, temperature: float = 1.0, draws: int = 10) -> None:
        super().__init__()
        if draws < 1:
            raise UserError(f"draws {draws} were given", "at least 1 was expected")
        self.temperature, self.draws = positive_temperature(temperature), draws

    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        r = relaxation(p)
        hard = r.sample(samples)
        with torch.no_grad():
            noise = r.condition(hard.expand(self.draws, *hard.shape)) - r.logits
        soft = r.soften(r.logits + noise, positive_temperature(self.temperature)).mean(0)
        return mean_estimate(self._evaluate(f, p, as_values(p, pass_straight_through(soft, hard))))
