"""Distributions over the whole numbers from 0: closed forms, and supports that a sum can end at."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch import distributions as D
from torch.distributions import Distribution

MOST_TERMS = 1 << 22
"""Largest number of terms of a sum, over the whole batch."""
MOST_WAYS = 1 << 17
"""Largest number of ways in which draws fall into classes, over the whole batch."""
TAIL = 41.5
"""−log of the mass that a sum leaves out, at most: below what float64 tells from 0 beside 1."""


def atoms(p: Distribution, q: Distribution) -> Tensor | None:
    """The numbers 0 … N, `N+1 *1`, beyond which neither has mass that float64 could tell; of multinomial
    distributions all counts, `n *1 K`. None for other distributions, and where there would be too many.

    Example:
        >>> len(atoms(D.Poisson(1.0), D.Geometric(0.5)))
        64
    """
    if isinstance(p, D.Multinomial) and isinstance(q, D.Multinomial):
        return _counts(p, q)
    lasts = [_last(side) for side in (p, q)]
    if None in lasts or _of_other_totals(p, q):
        return None
    last, batch = max(lasts), torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    if (last + 1) * math.prod(batch) > MOST_TERMS:
        return None
    like = p.mean
    return torch.arange(last + 1, dtype=like.dtype, device=like.device).reshape(-1, *[1] * len(batch))


def _counts(p: D.Multinomial, q: D.Multinomial) -> Tensor | None:
    """All ways in which n draws fall into K classes: places of K − 1 bars among n + K − 1."""
    (classes,), total = p.event_shape, p.total_count
    batch = torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    ways = math.comb(total + classes - 1, classes - 1)
    if q.total_count != total or ways * math.prod(batch) > MOST_WAYS:
        return None
    bars = torch.tensor(list(itertools.combinations(range(total + classes - 1), classes - 1)))
    ends = torch.full((ways, 1), total + classes - 1)
    bars = torch.cat((torch.full((ways, 1), -1), bars.reshape(ways, -1).long(), ends), 1)
    found = (bars.diff(dim=1) - 1).to(p.probs)
    return found.reshape(ways, *[1] * len(batch), classes)


def _last(p: Distribution) -> float | None:
    if isinstance(p, D.Poisson):
        rate = float(p.rate.detach().max())
        return math.ceil(rate + 12 * math.sqrt(rate) + 50) if math.isfinite(rate) else math.inf
    if isinstance(p, D.Geometric):
        failure = float((1 - p.probs.detach()).max())
        return math.ceil(TAIL / -math.log(failure)) if 0 < failure < 1 else math.inf if failure else 0
    if isinstance(p, D.NegativeBinomial):
        return _last_success(float(p.total_count.max()), float(p.probs.detach().max()))
    return None


def _last_success(total: float, chance: float) -> float:
    """A number of successes beyond which a negative binomial distribution has no mass to tell."""
    if not 0 < chance < 1:
        return math.inf if chance else 0
    last, log_chance, log_rest = 64, math.log(chance), total * math.log1p(-chance)
    while last < MOST_TERMS:
        ways = math.lgamma(total + last) - math.lgamma(last + 1) - math.lgamma(total)
        # the masses fall by a constant factor or faster behind their largest
        falling = chance * (total + last) / (last + 1) < (1 + chance) / 2
        if falling and ways + last * log_chance + log_rest < -TAIL + math.log((1 - chance) / 2):
            return last
        last *= 2
    return math.inf


def _of_other_totals(p: Distribution, q: Distribution) -> bool:
    """True for two negative binomial distributions that count to different numbers of failures."""
    both = isinstance(p, D.NegativeBinomial) and isinstance(q, D.NegativeBinomial)
    return both and not torch.equal(*torch.broadcast_tensors(p.total_count, q.total_count))


def log_affinity(p: Distribution, q: Distribution, order: float) -> Tensor | None:
    r"""log Σ pᵃ q¹⁻ᵃ; infinite where the sum diverges, None for other distributions.

    Poisson: :math:`λ^a μ^{1-a} - aλ - (1-a)μ`. Geometric, of chances p and q:
    :math:`\log p^a q^{1-a} - \log(1 - (1-p)^a (1-q)^{1-a})`. Negative binomial, n times that of a geometric
    one whose chance is that of a failure.

    Source: Nielsen and Nock 2011, On Rényi and Tsallis Entropies and Divergences for Exponential Families.

    Example:
        >>> log_affinity(D.Poisson(torch.tensor(1.0)), D.Poisson(torch.tensor(4.0)), 0.5)
        tensor(-0.5000)
    """
    if isinstance(p, D.Poisson) and isinstance(q, D.Poisson):
        return _where_finite(lambda x, y: _of_poisson(x, y, order), p.rate, q.rate)
    if isinstance(p, D.Geometric) and isinstance(q, D.Geometric):
        return _where_finite(lambda x, y: _of_geometric(x, y, order), p.probs, q.probs)
    if isinstance(p, D.NegativeBinomial) and isinstance(q, D.NegativeBinomial) and not _of_other_totals(p, q):
        each = _where_finite(lambda x, y: _of_geometric(x, y, order), 1 - p.probs, 1 - q.probs)
        return p.total_count * each
    return None


def _of_poisson(x: Tensor, y: Tensor, order: float) -> Tensor:
    return _tilted(x, y, order) - order * x - (1 - order) * y


def _of_geometric(x: Tensor, y: Tensor, order: float) -> Tensor:
    ratio = _tilted(1 - x, 1 - y, order)
    ends = ratio < 1
    rest = torch.where(ends, -ratio, 0.0).log1p()
    return torch.where(ends, order * x.log() + (1 - order) * y.log() - rest, torch.inf)


def _where_finite(form: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """A form of two parameters, with slopes of 0 instead of none where it is infinite."""
    with torch.no_grad():
        infinite = form(x, y) == torch.inf
    # the form is not asked there at all: a slope that is no number stays none when it is masked
    value = form(*(torch.where(infinite, 0.5, side) for side in (x, y)))
    return torch.where(infinite, torch.inf, value)


def _tilted(x: Tensor, y: Tensor, order: float) -> Tensor:
    """xᵃ y¹⁻ᵃ, and 0 where both are 0."""
    neither = (x == 0) & (y == 0)
    x, y = (torch.where(neither, 1.0, side) for side in (x, y))
    return torch.where(neither, 0.0, x**order * y ** (1 - order))
