"""Rényi's divergence."""

from __future__ import annotations

import math

from torch import Tensor
from torch.distributions import Distribution

from caselli.divergence.density import DensityDivergence
from caselli.divergence.gaussian import log_affinity
from caselli.divergence.log_density import tilt
from caselli.errors import UserError


class Renyi(DensityDivergence):
    r"""Rényi's divergence of order α, in nats.

    .. math:: D_\alpha(P \| Q) = \frac1{\alpha - 1} \log \int p^\alpha q^{1-\alpha}

    α = ½ is −2 log of the Bhattacharyya coefficient; α → 1 is KL(P‖Q). Closed form: Gaussians of any
    dimension.

    Arguments:
        order: α, positive, not 1.
        method, samples: method, and number of Monte Carlo samples, as `DensityDivergence` takes them.

    Source: Rényi 1961, On Measures of Entropy and Information.

    Example:
        >>> from torch.distributions import Normal
        >>> Renyi(2.0)(Normal(0.0, 1.0), Normal(2.0, 1.0)).value
        tensor(4.)
    """

    symmetric = False

    def __init__(self, order: float = 0.5, *, method: str | None = None, samples: int = 10_000) -> None:
        super().__init__(method=method, samples=samples)
        if not order > 0 or order == 1:
            raise UserError(
                f"order {order} was given", "a positive number other than 1 was expected", "1 is kl"
            )
        self.order = order
        self.at_zero = (0.0, -math.inf) if order > 1 else (math.inf, math.inf)

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return tilt(log_p, log_q, self.order)

    def transform(self, integral: Tensor) -> Tensor:
        return integral.log() / (self.order - 1)

    def closed_form(self, p: Distribution, q: Distribution) -> Tensor | None:
        found = log_affinity(p, q, self.order)
        return None if found is None else found / (self.order - 1)
