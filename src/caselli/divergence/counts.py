"""Distributions over the whole numbers from 0: closed forms, and supports that a sum can end at."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch import distributions as D
from torch.distributions import Distribution

MOST_TERMS = 1 << 22
"""Largest number of terms of a sum, over the whole batch."""
TAIL = 41.5
"""−log of the mass that a sum leaves out, at most: below what float64 tells from 0 beside 1."""


def atoms(p: Distribution, q: Distribution) -> Tensor | None:
    """The numbers 0 … N, `N+1 *1`, beyond which neither has mass that float64 could tell; None for other
    distributions, and where there would be too many.

    Example:
        >>> len(atoms(D.Poisson(1.0), D.Geometric(0.5)))
        64
    """
    lasts = [_last(side) for side in (p, q)]
    if None in lasts:
        return None
    last, batch = max(lasts), torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    if (last + 1) * math.prod(batch) > MOST_TERMS:
        return None
    like = p.mean
    return torch.arange(last + 1, dtype=like.dtype, device=like.device).reshape(-1, *[1] * len(batch))


def _last(p: Distribution) -> float | None:
    if isinstance(p, D.Poisson):
        rate = float(p.rate.detach().max())
        return math.ceil(rate + 12 * math.sqrt(rate) + 50) if math.isfinite(rate) else math.inf
    if isinstance(p, D.Geometric):
        failure = float((1 - p.probs.detach()).max())
        return math.ceil(TAIL / -math.log(failure)) if 0 < failure < 1 else math.inf if failure else 0
    return None


def log_affinity(p: Distribution, q: Distribution, order: float) -> Tensor | None:
    r"""log Σ pᵃ q¹⁻ᵃ; infinite where the sum diverges, None for other distributions.

    Poisson: :math:`λ^a μ^{1-a} - aλ - (1-a)μ`. Geometric, of chances p and q:
    :math:`\log p^a q^{1-a} - \log(1 - (1-p)^a (1-q)^{1-a})`.

    Source: Nielsen and Nock 2011, On Rényi and Tsallis Entropies and Divergences for Exponential Families.

    Example:
        >>> log_affinity(D.Poisson(torch.tensor(1.0)), D.Poisson(torch.tensor(4.0)), 0.5)
        tensor(-0.5000)
    """
    if isinstance(p, D.Poisson) and isinstance(q, D.Poisson):
        return _where_finite(lambda x, y: _of_poisson(x, y, order), p.rate, q.rate)
    if isinstance(p, D.Geometric) and isinstance(q, D.Geometric):
        return _where_finite(lambda x, y: _of_geometric(x, y, order), p.probs, q.probs)
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
