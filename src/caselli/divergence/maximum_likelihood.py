"""Fitting a density to samples by their likelihood."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from caselli.divergence.base import Distance, Divergence, Need, require


class MaximumLikelihood(Divergence):
    r"""The mean negative log likelihood of samples of P under Q, in nats.

    .. math:: -E_P[\log q] = \mathrm{KL}(P \| Q) + H(P)

    The gradient in Q is that of KL(P‖Q); the value is above it by the entropy of P, which samples do not
    give. The standard error is that of the mean over samples.

    Source: Fisher 1922, On the Mathematical Foundations of Theoretical Statistics.

    Example:
        >>> from torch.distributions import Normal
        >>> MaximumLikelihood()(Tensor([-1.0, 1.0]), Normal(0.0, 1.0)).value
        tensor(1.4189)
    """

    needs = Need.DENSITY_AND_SAMPLES
    symmetric = False

    def __call__(self, x: Tensor, q: Distribution) -> Distance:
        """The value for samples `n *batch *event` of P under a density Q."""
        require(self, x, q)
        surprise = -q.log_prob(x)
        error = surprise.detach().std(0) / len(surprise) ** 0.5
        return Distance(surprise.mean(0), error, "samples")
