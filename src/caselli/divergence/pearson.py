"""Pearson's χ² divergence."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from caselli.divergence.density import DensityDivergence
from caselli.divergence.gaussian import log_affinity
from caselli.divergence.masked import tilt


class Pearson(DensityDivergence):
    r"""Pearson's χ² divergence, the squared difference over the second density, without a factor ½.

    .. math:: \chi^2_P(P, Q) = \int \frac{(p - q)^2}{q} = \int \frac{p^2}{q} - 1

    Infinite where the tails of P are the heavier. Closed form: Gaussians of any dimension.

    Source: Pearson 1900.

    Example:
        >>> from torch.distributions import Normal
        >>> Pearson()(Normal(0.0, 1.0), Normal(1.0, 1.0)).value
        tensor(1.7183)
    """

    symmetric = False

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return tilt(log_p, log_q, 2.0) - 2 * log_p.exp() + log_q.exp()

    def closed_form(self, p: Distribution, q: Distribution) -> Tensor | None:
        found = log_affinity(p, q, 2.0)
        return None if found is None else found.expm1()
