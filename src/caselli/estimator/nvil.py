"""Neural variational inference and learning."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from caselli.estimator.base import Estimate, Estimator, Function, mean_estimate
from caselli.estimator.baseline import Learned, MovingAverage
from caselli.estimator.parameters import features, moving_support
from caselli.estimator.relaxation import draw
from caselli.estimator.score import regression, score_term


class NVIL(Estimator):
    r"""The score function with an input-dependent and a running baseline.

    .. math::
        \hat g = \frac1S \sum_i \big(f(z_i) - c_\psi(x) - \bar c\big) \, \nabla_\theta \log p_\theta(z_i)

    x is the context (p's parameters without one), c_ψ a network trained by `auxiliary_loss`, c̄ the moving
    average of what is left. Unbiased. Cost: S evaluations of f. The paper also divides the signal by
    max(1, running standard deviation), which is a rule for the step size: `scaled=True` does so, and the
    estimate is then short of the gradient by that factor (and `unbiased` false).

    Arguments:
        width: numbers in the context of one batch element.
        hidden: units of the network's hidden layer.
        decay: decay of the running mean and variance, in [0, 1).
        scaled: divide by max(1, running standard deviation).

    Source: Mnih and Gregor 2014, Neural Variational Inference and Learning in Belief Networks.

    Example:
        >>> import torch
        >>> p = torch.distributions.Bernoulli(logits=torch.zeros(4, requires_grad=True))
        >>> estimate = NVIL(width=1)(lambda z: (z - 0.45) ** 2, p, samples=8)
        >>> estimate.auxiliary_loss.requires_grad
        True
    """

    unbiased = True
    needs_gradient = False
    serves = (Distribution,)

    def __init__(self, width: int = 1, *, hidden: int = 64, decay: float = 0.9, scaled: bool = False) -> None:
        super().__init__()
        self.learned = Learned(width, hidden)
        self.mean = MovingAverage(decay)
        self.square = MovingAverage(decay)
        self.scaled = scaled
        self.unbiased = not scaled

    @classmethod
    def _width(cls, p: Distribution) -> tuple[int, ...]:
        """p's parameters."""
        return (features(p).shape[-1],)

    def accepts(self, p: Distribution) -> bool:
        """True but for a support that moves with the parameters."""
        return super().accepts(p) and not moving_support(p)

    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        z = draw(p, samples)
        values = self._evaluate(f, p, z)
        fixed = values.detach()
        c = self.learned(fixed, z, p, context)
        left = fixed - c.detach()
        signal = left - self.mean(left, z, p, context)
        if self.scaled:
            signal = signal / self.square(signal.square(), z, p, context).sqrt().clamp_min(1)
        return mean_estimate(
            values, score_term(p, z, signal), regression(fixed, c) if self.training else None
        )
