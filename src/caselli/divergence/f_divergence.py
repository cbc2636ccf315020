"""The f-divergences: each with its integral over logarithms and its function f for critics."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    Distribution,
    Geometric,
    Independent,
    Poisson,
    kl_divergence,
)
from torch.nn.functional import softplus

from caselli.divergence.density import DensityDivergence
from caselli.divergence.f_function import FFunction, jeffreys_conjugate
from caselli.divergence.gaussian import log_affinity, relative_entropy
from caselli.divergence.log_density import log, tilt, weigh


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
    function = FFunction(
        f=lambda u: torch.xlogy(u, u),
        slope=lambda u: 1 + u.log(),
        conjugate=lambda t: (t - 1).exp(),
        output=lambda v: v,
        conjugate_of_output=lambda v: (v - 1).exp(),
    )

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return weigh(log_p, log_p - log_q)

    def closed_form(self, p: Distribution, q: Distribution) -> Tensor | None:
        found = relative_entropy(p, q)
        if found is not None:
            return found
        if isinstance(p, Independent) and isinstance(q, Independent):
            return self._of_independent(p, q)
        if isinstance(p, Poisson) and isinstance(q, Poisson):
            return self.of_masses(p.rate, q.rate, log(p.rate), log(q.rate)) - p.rate + q.rate
        if isinstance(p, Geometric) and isinstance(q, Geometric):
            return self._sum(Bernoulli(p.probs), Bernoulli(q.probs)) / p.probs
        if isinstance(p, ContinuousBernoulli):
            return None  # torch's formulas are infinite where two supports are equal
        if p.has_enumerate_support:
            return None  # a sum is exact too, and torch's formulas are not where a probability is zero
        try:
            return kl_divergence(p, q)
        except NotImplementedError:
            return None

    def _of_independent(self, p: Independent, q: Independent) -> Tensor | None:
        if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
            return None
        each = self.closed_form(p.base_dist, q.base_dist)
        each = self._sum(p.base_dist, q.base_dist) if each is None else each
        return None if each is None else each.sum(tuple(range(-p.reinterpreted_batch_ndims, 0)))


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
    function = FFunction(
        f=lambda u: -u.log(),
        slope=lambda u: -1 / u,
        conjugate=lambda t: -1 - (-t).log(),
        output=lambda v: -(-v).exp(),
        conjugate_of_output=lambda v: v - 1,
    )

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return weigh(log_q, log_q - log_p)

    def closed_form(self, p: Distribution, q: Distribution) -> Tensor | None:
        return KL().closed_form(q, p)


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
    function = FFunction(
        f=lambda u: (u - 1) * u.log(),
        slope=lambda u: 1 + u.log() - 1 / u,
        conjugate=jeffreys_conjugate,
        output=lambda v: v,
        conjugate_of_output=jeffreys_conjugate,
    )

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return weigh(log_p, log_p - log_q) + weigh(log_q, log_q - log_p)

    def closed_form(self, p: Distribution, q: Distribution) -> Tensor | None:
        forward, backward = KL().closed_form(p, q), KL().closed_form(q, p)
        return None if forward is None or backward is None else forward + backward


class JensenShannon(DensityDivergence):
    r"""The Jensen-Shannon divergence, in nats, at most log 2.

    .. math::
        \mathrm{JSD}(P, Q) = \tfrac12 \mathrm{KL}(P \| M) + \tfrac12 \mathrm{KL}(Q \| M), \quad
        M = \tfrac12 (P + Q)

    With both halves: f-GAN's "Jensen-Shannon" (`function`, and `f_gan` here too) is twice this number. No
    root.

    Source: Lin 1991, Divergence Measures Based on the Shannon Entropy.

    Example:
        >>> from torch.distributions import Normal
        >>> JensenShannon()(Normal(0.0, 1.0), Normal(1.0, 1.0)).value
        tensor(0.1114)
    """

    symmetric = True
    bounded = True
    function = FFunction(
        f=lambda u: torch.xlogy(u, u) - (u + 1) * ((u + 1) / 2).log(),
        slope=lambda u: math.log(2) + u.log() - torch.log1p(u),
        conjugate=lambda t: -(2 - t.exp()).log(),
        output=lambda v: math.log(2) - softplus(-v),
        conjugate_of_output=lambda v: softplus(v) - math.log(2),
    )

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        log_m = torch.logaddexp(log_p, log_q) - math.log(2)
        return (weigh(log_p, log_p - log_m) + weigh(log_q, log_q - log_m)) / 2


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
    bounded = True
    function = FFunction(
        f=lambda u: (u.sqrt() - 1) ** 2,
        slope=lambda u: 1 - u**-0.5,
        conjugate=lambda t: t / (1 - t),
        output=lambda v: -torch.expm1(-v),
        conjugate_of_output=lambda v: torch.expm1(v),
    )

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return log_p.exp() + log_q.exp() - 2 * tilt(log_p, log_q, 0.5)

    def closed_form(self, p: Distribution, q: Distribution) -> Tensor | None:
        found = log_affinity(p, q, 0.5)
        return None if found is None else -2 * found.expm1()


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
    at_zero = (-2.0, -math.inf)
    function = FFunction(
        f=lambda u: (u - 1) ** 2,
        slope=lambda u: 2 * (u - 1),
        conjugate=lambda t: t**2 / 4 + t,
        output=lambda v: v,
        conjugate_of_output=lambda v: v**2 / 4 + v,
    )

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return tilt(log_p, log_q, 2.0) - 2 * log_p.exp() + log_q.exp()

    def closed_form(self, p: Distribution, q: Distribution) -> Tensor | None:
        found = log_affinity(p, q, 2.0)
        return None if found is None else found.expm1()


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
    at_zero = (-math.inf, -2.0)
    function = FFunction(
        f=lambda u: (1 - u) ** 2 / u,
        slope=lambda u: 1 - u**-2,
        conjugate=lambda t: 2 - 2 * (1 - t).sqrt(),
        output=lambda v: -torch.expm1(v),
        conjugate_of_output=lambda v: -2 * torch.expm1(v / 2),
    )

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return tilt(log_q, log_p, 2.0) - 2 * log_q.exp() + log_p.exp()

    def closed_form(self, p: Distribution, q: Distribution) -> Tensor | None:
        found = log_affinity(q, p, 2.0)
        return None if found is None else found.expm1()


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
    bounded = True
    kinked = True
    at_zero: ClassVar = (-0.5, -0.5)

    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return (log_p.exp() - log_q.exp()).abs() / 2


F_FUNCTIONS: dict[str, FFunction] = {
    "kl": KL.function,
    "reverse_kl": ReverseKL.function,
    "pearson": Pearson.function,
    "neyman": Neyman.function,
    "squared_hellinger": SquaredHellinger.function,
    "jensen_shannon": JensenShannon.function,
    "gan": FFunction(
        f=lambda u: torch.xlogy(u, u) - (u + 1) * (u + 1).log(),
        slope=lambda u: u.log() - torch.log1p(u),
        conjugate=lambda t: -(-torch.expm1(t)).log(),
        output=lambda v: -softplus(-v),
        conjugate_of_output=softplus,
    ),
    "jeffreys": Jeffreys.function,
}
"""The functions by name; `gan` is that of the first GAN, 2 JSD − log 4."""
