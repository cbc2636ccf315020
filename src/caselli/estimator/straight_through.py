"""The identity as the derivative of sampling."""

from __future__ import annotations

from torch import Tensor, distributions
from torch.distributions import Distribution

from caselli.estimator.base import Estimate, Estimator, Function, mean_estimate
from caselli.estimator.relaxation import as_values, pass_straight_through, relaxation


class StraightThrough(Estimator):
    r"""The hard sample forward, the gradient of the probabilities backward.

    .. math:: \hat g = J(q) f'(D), \quad q = \mathrm{softmax}(\theta), \; J(q) = \mathrm{diag}\, q - q q^\top

    Biased (exact for linear f), of low variance. Cost: S evaluations of f and of its gradient; f needs a
    gradient at the atoms only.

    Source: Bengio, Léonard and Courville 2013, Estimating or Propagating Gradients Through Stochastic
    Neurons.

    Example:
        >>> logit = Tensor([0.0]).requires_grad_()
        >>> estimate = StraightThrough()(lambda z: 4 * z, distributions.Bernoulli(logits=logit))
        >>> estimate.surrogate.backward()
        >>> logit.grad
        tensor([1.])
    """

    unbiased = False
    needs_gradient = True
    serves = (distributions.Bernoulli, distributions.OneHotCategorical)

    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        r = relaxation(p)
        z = pass_straight_through(r.probabilities(1.0), r.sample(samples))
        return mean_estimate(self._evaluate(f, p, as_values(p, z)))
