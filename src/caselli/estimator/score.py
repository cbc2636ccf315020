"""The score-function estimator, with a baseline."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from caselli.errors import lookup
from caselli.estimator.base import Estimate, Estimator, Function, mean_estimate
from caselli.estimator.baseline import BASELINES, Baseline
from caselli.estimator.parameters import moving_support, unwrap
from caselli.estimator.relaxation import DISCRETE, as_hard, draw, relaxation
from caselli.ops import inject_gradient


class Score(Estimator):
    r"""The score-function estimator (REINFORCE, likelihood ratio).

    .. math:: \hat g = \frac1S \sum_i (f(z_i) - c_i) \, \nabla_\theta \log p_\theta(z_i)

    Unbiased with every baseline c. Cost: S evaluations of f, which need not be differentiable.

    Arguments:
        baseline: c: a name in `BASELINES` (`none`, `moving_average`, `learned`, `leave_one_out`, `optimal`)
            or a `Baseline`. The last two need at least two samples; `leave_one_out` is known as RLOO.

    Sources: Williams 1992, Simple Statistical Gradient-Following Algorithms; Kool, van Hoof and Welling 2019,
    Buy 4 REINFORCE Samples, Get a Baseline for Free!

    Example:
        >>> import torch
        >>> p = torch.distributions.Bernoulli(logits=torch.zeros((), requires_grad=True))
        >>> estimate = Score("leave_one_out")(lambda z: (z - 0.45) ** 2, p, samples=1000)
        >>> estimate.value.shape, estimate.surrogate.requires_grad
        (torch.Size([]), True)
    """

    unbiased = True
    needs_gradient = False
    serves = (Distribution,)

    def __init__(self, baseline: str | Baseline = "none") -> None:
        super().__init__()
        named = isinstance(baseline, str)
        self.baseline = lookup(BASELINES, "baseline", baseline)() if named else baseline
        self.least_samples = self.baseline.least_samples

    def accepts(self, p: Distribution) -> bool:
        """True but for a support that moves with the parameters."""
        return super().accepts(p) and not moving_support(p)

    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        z = draw(p, samples)
        values = self._evaluate(f, p, z)
        fixed = values.detach()
        c = self.baseline(fixed, z, p, context)
        return mean_estimate(
            values, score_term(p, z, fixed - c.detach()), regression(fixed, c) if self.training else None
        )


def score_term(p: Distribution, z: Tensor, signal: Tensor) -> Tensor:
    """A zero with the gradient of the mean over samples, summed over the batch, of signal times the score."""
    if isinstance(unwrap(p), DISCRETE):
        r = relaxation(p)
        return inject_gradient(r.logits, r.weighted_score(as_hard(p, z), signal.detach()))
    log_p = p.log_prob(z)
    return ((log_p - log_p.detach()) * signal.detach()).mean(0).sum()


def regression(values: Tensor, c: Tensor) -> Tensor | None:
    """Half the mean squared error of a baseline that is trained; None where there is nothing to train."""
    return (values - c).square().mean() / 2 if c.requires_grad else None
