"""The hard sample forward, the relaxed one backward."""

from __future__ import annotations

from torch import Tensor, distributions
from torch.distributions import Distribution

from caselli.estimator.base import Estimate, Estimator, Function, mean_estimate
from caselli.estimator.relaxation import as_values, pass_straight_through, positive_temperature, relaxation


class StraightThroughGumbel(Estimator):
    r"""The hard sample forward, the gradient of Gumbel-Softmax with the same noise backward.

    .. math:: \hat g = \nabla_\theta y \cdot f'(D), \quad
              y = \mathrm{softmax}((\theta + G)/\tau), \; D = \mathrm{onehot}(\arg\max y)

    Biased. Cost: S evaluations of f and of its gradient; f needs a gradient at the atoms only.

    Arguments:
        temperature: τ > 0; a plain attribute that a schedule may set at every step.

    Source: Jang, Gu and Poole 2017, Categorical Reparameterization with Gumbel-Softmax.

    Example:
        >>> p = distributions.OneHotCategorical(logits=Tensor([0.0, 1.0]).requires_grad_())
        >>> StraightThroughGumbel(0.5)(lambda z: z[..., 0] ** 2, p, samples=4).surrogate.requires_grad
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
        z = r.perturb(samples)
        soft = r.soften(z, positive_temperature(self.temperature))
        return mean_estimate(self._evaluate(f, p, as_values(p, pass_straight_through(soft, r.harden(z)))))
