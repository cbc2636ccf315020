"""The total variation distance."""

from __future__ import annotations

from torch import Tensor

from caselli.divergence.density import DensityDivergence


class TotalVariation(DensityDivergence):
    r"""The total variation distance with the factor ½: the largest difference of probability of any event.

    .. math:: \mathrm{TV}(P, Q) = \tfrac12 \int |p - q|

    Between 0 and 1.

    Source: Jordan 1881; as a distance of distributions, Le Cam 1973.

    Example:
        >>> from torch.distributions import Normal
        >>> TotalVariation()(Normal(0.0, 1.0), Normal(1.0, 1.0)).value
        tensor(0.3829)
    """

    symmetric = True
    kinked = True

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return (log_p.exp() - log_q.exp()).abs() / 2
