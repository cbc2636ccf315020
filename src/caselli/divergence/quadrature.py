"""Integrals over one dimension: Gauss-Legendre on panels laid by the two distributions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy
import torch
from torch import Tensor
from torch import distributions as D
from torch.distributions import Distribution

from caselli.divergence.log_density import log_density

NODES = 12
"""Points in a panel."""
ENDLESS = 1 / 64
"""An integral of which an outermost panel has this share has no end: panels double in width outwards, and
halve towards an end of a support, so that of 1/x too each has a fortieth."""
# Quarters of a scale near a centre, then doublings, far enough for the tails of a Cauchy distribution.
_NEAR = [k / 4 for k in range(-24, 25)]
_FAR = [6.0 * 2**k for k in range(1, 34)]
_OFFSETS = [*(-x for x in _FAR), *_NEAR, *_FAR]
_HALVINGS = [2.0**-k for k in range(41)]


def integrable(p: Distribution) -> bool:
    """True if p is continuous, of one dimension, and says where its mass is.

    Example:
        >>> integrable(D.Normal(0.0, 1.0)), integrable(D.Poisson(1.0))
        (True, False)
    """
    if p.event_shape or p.support.is_discrete:
        return False
    try:
        _landmarks(p)
    except NotImplementedError:
        return False
    return True


def integrate(
    p: Distribution,
    q: Distribution,
    integrand: Callable[[Tensor, Tensor], Tensor],
    kinked: bool,
    bounded: bool = False,
) -> Tensor:
    r""":math:`\int h(\log p(x), \log q(x))\,dx`, `*batch`, differentiable in both.

    Arguments:
        p, q: continuous, of one dimension.
        integrand: h.
        kinked: true if h has a kink at p = q; every panel is then split where the densities cross.
        bounded: true if the integral is finite for all pairs; what has no end is infinite otherwise.
    """
    with torch.no_grad():
        edges = _edges(p, q)
        if kinked:
            edges = torch.cat([edges, _crossings(p, q, edges)]).sort(0).values
        nodes, weights = numpy.polynomial.legendre.leggauss(NODES)
        nodes, weights = (
            torch.as_tensor(a, dtype=edges.dtype, device=edges.device).reshape(-1, *[1] * edges.ndim)
            for a in (nodes, weights)
        )
        middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
        x = middle + half * nodes
    values = integrand(log_density(p, x), log_density(q, x))
    panels = (values.masked_fill(half == 0, 0.0) * weights * half).sum(0)
    total = panels.sum(0)
    if bounded:
        return total
    outer = sum(len(_landmarks(side)[0]) for side in (p, q))
    return torch.where(_grows(panels.detach(), half > 0, outer), torch.inf, total)


def _grows(panels: Tensor, wide: Tensor, count: int) -> Tensor:
    """True for an integral of which panels at one end have so large a share that it has no end.

    Arguments:
        panels: integral over each panel, `n *batch`.
        wide: panels that have a width.
        count: of panels at an end, of which one at least is not cut short by another distribution's.
    """
    shares = [panels.masked_fill(~wide | (side > count), 0.0).sum(0) for side in _numbered(wide)]
    return (torch.stack(shares) > ENDLESS * panels.sum(0).abs()).any(0)


def _numbered(wide: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of panels that have a width, counted from either end."""
    return wide.cumsum(0), wide.flip(0).cumsum(0).flip(0)


def _edges(p: Distribution, q: Distribution) -> Tensor:
    """Borders of the panels in order, `n *batch`."""
    marks = [_landmarks(d) for d in (p, q)]
    shape = torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    like = marks[0][0]
    offsets = torch.tensor(_OFFSETS, dtype=like.dtype, device=like.device)
    halvings = torch.tensor(_HALVINGS, dtype=like.dtype, device=like.device)
    bounds = [torch.as_tensor(b, dtype=like.dtype, device=like.device) for d in (p, q) for b in _bounds(d)]
    found = [_spread(centres, scales, offsets, shape) for centres, scales in marks]
    for d, (_, scales) in zip((p, q), marks, strict=True):
        for bound, sign in zip(_bounds(d), (1, -1), strict=True):
            # Densities may be singular at the end of their support: panels halve towards it, on both sides.
            end = torch.as_tensor(bound, dtype=like.dtype, device=like.device)
            if end.isfinite().all():
                found += [_spread(end[None], sign * scales[:1], halvings, shape), end.expand(1, *shape)]
    low = torch.minimum(bounds[0], bounds[2])
    high = torch.maximum(bounds[1], bounds[3])
    return torch.maximum(torch.minimum(torch.cat(found), high), low).sort(0).values


def _spread(centres: Tensor, scales: Tensor, offsets: Tensor, shape: torch.Size) -> Tensor:
    """centre + scale · offset for every combination, `n *batch`."""
    steps = offsets.reshape(-1, *[1] * max(centres.ndim, scales.ndim))
    return (centres + scales * steps).flatten(0, 1).expand(-1, *shape)


def _landmarks(p: Distribution) -> tuple[Tensor, Tensor]:
    """Where the mass is and how wide: centres and scales, `k *batch`."""
    if isinstance(p, D.VonMises):  # its mode may lie at the other end also
        turns = torch.arange(-1.0, 2.0).to(p.loc).reshape(-1, *[1] * p.loc.ndim)
        return (p.loc.detach() + 2 * math.pi * turns), p.concentration.detach()[None].rsqrt().clamp(max=1.0)
    if isinstance(p, D.MixtureSameFamily):
        found = _landmarks(p.component_distribution)
        return tuple(x.movedim(-1, 0).flatten(0, 1) for x in found)
    mean, deviation = p.mean.detach(), p.stddev.detach()
    centre = torch.where(mean.isfinite(), mean, torch.as_tensor(getattr(p, "loc", 0.0)).to(mean))
    width = deviation.isfinite() & (deviation > 0)
    scale = torch.where(width, deviation, torch.as_tensor(getattr(p, "scale", 1.0)).to(mean))
    return centre[None].detach(), scale[None].detach()


def _bounds(p: Distribution) -> tuple[Tensor | float, Tensor | float]:
    """The ends of the support."""
    if isinstance(p, D.MixtureSameFamily):
        low, high = map(torch.as_tensor, _bounds(p.component_distribution))
        return low.amin(-1) if low.ndim else low, high.amax(-1) if high.ndim else high
    if isinstance(p, D.VonMises):
        return -math.pi, math.pi
    support = p.support
    return getattr(support, "lower_bound", -torch.inf), getattr(support, "upper_bound", torch.inf)


def _crossings(p: Distribution, q: Distribution, edges: Tensor) -> Tensor:
    """A point in every panel: where log p - log q changes sign, by bisection, or else the middle."""
    low, high = edges[:-1].clone(), edges[1:].clone()

    def above(x: Tensor) -> Tensor:
        return log_density(p, x) > log_density(q, x)

    begin = above(low)
    changes = begin != above(high)
    for _ in range(60):
        middle = (low + high) / 2
        same = above(middle) == begin
        low, high = torch.where(same, middle, low), torch.where(same, high, middle)
    return torch.where(changes, (low + high) / 2, (edges[:-1] + edges[1:]) / 2)
