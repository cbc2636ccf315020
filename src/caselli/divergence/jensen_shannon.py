"""The Jensen-Shannon divergence."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from caselli.divergence.density import DensityDivergence
from caselli.divergence.masked import weigh


class JensenShannon(DensityDivergence):
    r"""The Jensen-Shannon divergence, in nats, at most log 2.

    .. math:: \mathrm{JSD}(P, Q) = \tfrac12 \mathrm{KL}(P \| M) + \tfrac12 \mathrm{KL}(Q \| M), \quad M =
    \tfrac12 (P + Q)

    With both halves: f-GAN's "Jensen-Shannon" (`f_gan` here too) is twice this number. No root.

    Source: Lin 1991, Divergence Measures Based on the Shannon Entropy.

    Example:
        >>> from torch.distributions import Normal
        >>> JensenShannon()(Normal(0.0, 1.0), Normal(1.0, 1.0)).value
        tensor(0.1114)
    """

    symmetric = True

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        log_m = torch.logaddexp(log_p, log_q) - math.log(2)
        return (weigh(log_p, log_p - log_m) + weigh(log_q, log_q - log_m)) / 2
