"""Neyman's χ² divergence."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from caselli.divergence.density import DensityDivergence
from caselli.divergence.gaussian import log_affinity
from caselli.divergence.masked import tilt


class Neyman(DensityDivergence):
    r"""Neyman's χ² divergence, the squared difference over the first density, without a factor ½.

    .. math:: \chi^2_N(P, Q) = \int \frac{(p - q)^2}{p} = \int \frac{q^2}{p} - 1

    Infinite where the tails of Q are the heavier. Closed form: Gaussians of any dimension.

    Source: Neyman 1949.

    Example:
        >>> from torch.distributions import Normal
        >>> Neyman()(Normal(0.0, 2.0), Normal(0.0, 1.0)).value
        tensor(0.5119)
    """

    symmetric = False

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return tilt(log_q, log_p, 2.0) - 2 * log_q.exp() + log_p.exp()

    def closed_form(self, p: Distribution, q: Distribution) -> Tensor | None:
        found = log_affinity(q, p, 2.0)
        return None if found is None else found.expm1()
