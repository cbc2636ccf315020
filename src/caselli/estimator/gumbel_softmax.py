"""The relaxed sample in place of the hard one."""

from __future__ import annotations

from torch import Tensor, distributions
from torch.distributions import Distribution

from caselli.estimator.base import Estimate, Estimator, Function, mean_estimate
from caselli.estimator.relaxation import as_values, positive_temperature, relaxation


class GumbelSoftmax(Estimator):
    r"""The pathwise gradient at a relaxed sample (the Concrete distribution).

    .. math:: \hat g = \nabla_\theta f\big(\mathrm{softmax}((\theta + G) / \tau)\big)

    For Bernoulli latents σ((φ + logistic noise) / τ). Biased, the less the smaller τ, while the variance
    grows as 1/τ; the value is that of f between the atoms. Cost: S evaluations of f and of its gradient.

    Arguments:
        temperature: τ > 0; a plain attribute that a schedule may set at every step.

    Sources: Jang, Gu and Poole 2017, Categorical Reparameterization with Gumbel-Softmax; Maddison, Mnih and
    Teh 2017, The Concrete Distribution.

    Example:
        >>> p = distributions.OneHotCategorical(logits=Tensor([0.0, 1.0]).requires_grad_())
        >>> GumbelSoftmax(0.5)(lambda z: z[..., 0] ** 2, p, samples=4).surrogate.requires_grad
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
        soft = r.soften(r.perturb(samples), positive_temperature(self.temperature))
        return mean_estimate(self._evaluate(f, p, as_values(p, soft)))
