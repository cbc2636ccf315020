"""The sum of both Kullback-Leibler divergences."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from caselli.divergence.density import DensityDivergence
from caselli.divergence.kl import known
from caselli.divergence.masked import weigh


class Jeffreys(DensityDivergence):
    r"""Jeffreys' divergence, the sum of both directions (not their mean), in nats.

    .. math:: J(P, Q) = \int (p - q) \log \frac pq = \mathrm{KL}(P \| Q) + \mathrm{KL}(Q \| P)

    Source: Jeffreys 1946, An Invariant Form for the Prior Probability in Estimation Problems.

    Example:
        >>> from torch.distributions import Normal
        >>> Jeffreys()(Normal(0.0, 1.0), Normal(1.0, 1.0)).value
        tensor(1.)
    """

    symmetric = True

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return weigh(log_p, log_p - log_q) + weigh(log_q, log_q - log_p)

    def closed_form(self, p: Distribution, q: Distribution) -> Tensor | None:
        forward, backward = known(p, q), known(q, p)
        return None if forward is None or backward is None else forward + backward
