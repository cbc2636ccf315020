"""The Kullback-Leibler divergence."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from caselli.divergence.density import DensityDivergence
from caselli.divergence.gaussian import relative_entropy
from caselli.divergence.masked import weigh


class KL(DensityDivergence):
    r"""The Kullback-Leibler divergence of P from Q, in nats.

    .. math:: \mathrm{KL}(P \| Q) = \int p \log \frac pq

    With P the data it covers all modes. Infinite where Q has no mass and P has. Closed forms: Gaussians of
    any dimension, and all pairs that `torch.distributions.kl_divergence` knows.

    Source: Kullback and Leibler 1951, On Information and Sufficiency.

    Example:
        >>> from torch.distributions import Normal
        >>> KL()(Normal(0.0, 1.0), Normal(1.0, 1.0)).value
        tensor(0.5000)
    """

    symmetric = False

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return weigh(log_p, log_p - log_q)

    def closed_form(self, p: Distribution, q: Distribution) -> Tensor | None:
        return known(p, q)


def known(p: Distribution, q: Distribution) -> Tensor | None:
    """KL(P‖Q) where a formula is known."""
    found = relative_entropy(p, q)
    summed = p.has_enumerate_support and not isinstance(p, Independent)  # exact too, and safe at zeros
    if found is not None or summed:
        return found
    try:
        return kl_divergence(p, q)
    except NotImplementedError:
        return None
