"""The reparameterisation estimator."""

from __future__ import annotations

from torch import Tensor
from torch import distributions as D
from torch.distributions import Distribution

from caselli.estimator.base import Estimate, Estimator, Function, mean_estimate
from caselli.estimator.implicit import reparameterised, rsample

CONTINUOUS = tuple(
    kind
    for kind in vars(D).values()
    if isinstance(kind, type)
    and issubclass(kind, Distribution)
    and kind is not D.OneHotCategoricalStraightThrough
    and (kind in (D.MixtureSameFamily, D.TransformedDistribution) or kind.has_rsample is True)
)
"""The families of torch that can be reparameterised, and mixtures of one family."""


class Pathwise(Estimator):
    r"""The gradient through a reparameterised sample.

    .. math:: \hat g = \frac1S \sum_i \nabla_\theta f(z_\theta(\epsilon_i))

    Unbiased for differentiable f. Cost: S evaluations of f and of its gradient. Serves every torch family
    with `rsample`, and `MixtureSameFamily` by implicit reparameterisation.

    Sources: Kingma and Welling 2014, Auto-Encoding Variational Bayes; Rezende, Mohamed and Wierstra 2014;
    Figurnov, Mohamed and Mnih 2018, Implicit Reparameterization Gradients.

    Example:
        >>> import torch
        >>> mean = torch.ones((), requires_grad=True)
        >>> estimate = Pathwise()(lambda z: z**2, torch.distributions.Normal(mean, 1e-6), samples=4)
        >>> torch.autograd.grad(estimate.surrogate, mean)[0].round(decimals=3)
        tensor(2.)
    """

    unbiased = True
    needs_gradient = True
    serves = CONTINUOUS

    def accepts(self, p: Distribution) -> bool:
        """True if p can be reparameterised."""
        return reparameterised(p)

    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        return mean_estimate(self._evaluate(f, p, rsample(p, samples)))
