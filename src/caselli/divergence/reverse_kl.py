"""The Kullback-Leibler divergence with its sides exchanged."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from caselli.divergence.density import DensityDivergence
from caselli.divergence.kl import known
from caselli.divergence.masked import weigh


class ReverseKL(DensityDivergence):
    r"""The Kullback-Leibler divergence of Q from P, in nats.

    .. math:: \mathrm{KL}(Q \| P) = \int q \log \frac qp

    With P the data it seeks modes: mass of Q where P has none costs infinitely much. Closed forms as for
    `KL`.

    Source: Kullback and Leibler 1951, On Information and Sufficiency.

    Example:
        >>> from torch.distributions import Normal
        >>> ReverseKL()(Normal(0.0, 1.0), Normal(0.0, 2.0)).value
        tensor(0.8069)
    """

    symmetric = False

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return weigh(log_q, log_q - log_p)

    def closed_form(self, p: Distribution, q: Distribution) -> Tensor | None:
        return known(q, p)
