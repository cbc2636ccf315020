"""Straight-through of second order."""

from __future__ import annotations

from torch import Tensor, distributions
from torch.distributions import Distribution

from caselli.estimator.base import Estimate, Estimator, Function, mean_estimate
from caselli.estimator.relaxation import as_values, positive_temperature, relaxation


class ReinMax(Estimator):
    r"""Straight-through with Heun's method in place of Euler's.

    .. math:: \hat g = 2 J\big(\tfrac{\mathrm{softmax}(\theta/\tau) + D}{2}\big) f'(D)
              - \tfrac12 J(\mathrm{softmax}\,\theta) f'(D), \quad J(q) = \mathrm{diag}\, q - q q^\top

    At τ = 1 exact in expectation for f of degree two, biased beyond. Cost: S evaluations of f and of its
    gradient; f needs a gradient at the atoms only.

    Arguments:
        temperature: τ > 0, in practice 1 or more; a plain attribute that a schedule may set at every step.

    Source: Liu et al. 2023, Bridging Discrete and Backpropagation: Straight-Through and Beyond.

    Example:
        >>> p = distributions.OneHotCategorical(logits=Tensor([0.0, 1.0]).requires_grad_())
        >>> ReinMax()(lambda z: z[..., 0] ** 2, p, samples=4).surrogate.requires_grad
        True
    """

    unbiased = False
    needs_gradient = True
    serves = (distributions.Bernoulli, distributions.OneHotCategorical)

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = positive_temperature(temperature)

    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        r = relaxation(p)
        hard = r.sample(samples)
        middle = (r.probabilities(positive_temperature(self.temperature)).detach() + hard) / 2
        # A zero with a gradient: J is symmetric, so J times it brings J f' back to the logits.
        zero = r.logits - r.logits.detach()
        z = hard + 2 * r.jacobian(middle, zero) - r.jacobian(r.probabilities(1.0).detach(), zero) / 2
        return mean_estimate(self._evaluate(f, p, as_values(p, z)))
