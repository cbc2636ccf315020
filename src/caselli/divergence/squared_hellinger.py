"""The squared Hellinger distance."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from caselli.divergence.density import DensityDivergence
from caselli.divergence.gaussian import log_affinity
from caselli.divergence.masked import tilt


class SquaredHellinger(DensityDivergence):
    r"""The squared Hellinger distance without the factor ½, at most 2.

    .. math:: H^2(P, Q) = \int (\sqrt p - \sqrt q)^2 = 2 - 2 \int \sqrt{p q}

    Closed form: Gaussians of any dimension.

    Source: Hellinger 1909.

    Example:
        >>> from torch.distributions import Normal
        >>> SquaredHellinger()(Normal(0.0, 1.0), Normal(1.0, 1.0)).value
        tensor(0.2350)
    """

    symmetric = True

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return log_p.exp() + log_q.exp() - 2 * tilt(log_p, log_q, 0.5)

    def closed_form(self, p: Distribution, q: Distribution) -> Tensor | None:
        found = log_affinity(p, q, 0.5)
        return None if found is None else -2 * found.expm1()
