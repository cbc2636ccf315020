"""The α-divergence."""

from __future__ import annotations

import math

from torch import Tensor
from torch.distributions import Distribution

from caselli.divergence.density import DensityDivergence
from caselli.divergence.gaussian import log_affinity
from caselli.divergence.log_density import tilt
from caselli.errors import UserError


class Alpha(DensityDivergence):
    r"""The α-divergence (of Chernoff, Amari and Cressie-Read), in the scale of Minka.

    .. math:: D_\alpha(P \| Q) = \frac{\int p^\alpha q^{1-\alpha} - 1}{\alpha (\alpha - 1)}

    α → 1 is KL(P‖Q), α → 0 is KL(Q‖P); α = ½ is 2 H², α = 2 is ½ χ² of Pearson, α = −1 is ½ χ² of Neyman.
    Closed form: Gaussians of any dimension.

    Arguments:
        order: α, neither 0 nor 1.
        method, samples: method, and number of Monte Carlo samples, as `DensityDivergence` takes them.

    Sources: Amari 1985, Differential-Geometrical Methods in Statistics; Minka 2005, Divergence Measures and
    Message Passing.

    Example:
        >>> from torch.distributions import Normal
        >>> Alpha(2.0)(Normal(0.0, 1.0), Normal(1.0, 1.0)).value
        tensor(0.8591)
    """

    symmetric = False

    def __init__(self, order: float = 0.5, *, method: str | None = None, samples: int = 10_000) -> None:
        super().__init__(method=method, samples=samples)
        if order in (0, 1):
            raise UserError(
                f"order {order} was given", "neither 0 nor 1 was expected", "0 is reverse_kl, 1 is kl"
            )
        self.order = order
        self.at_zero = tuple(1 / (1 - a) if a > 1 else -math.inf for a in (order, 1 - order))

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        plain = self.order * log_p.exp() + (1 - self.order) * log_q.exp()
        return (tilt(log_p, log_q, self.order) - plain) / (self.order * (self.order - 1))

    def closed_form(self, p: Distribution, q: Distribution) -> Tensor | None:
        found = log_affinity(p, q, self.order)
        return None if found is None else found.expm1() / (self.order * (self.order - 1))
