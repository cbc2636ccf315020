"""Densities in logarithms, where either may be zero."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints


def log_density(p: Distribution, x: Tensor) -> Tensor:
    """log p(x), minus infinity outside the support.

    Example:
        >>> log_density(torch.distributions.Exponential(1.0), torch.tensor([-1.0, 2.0]))
        tensor([-inf, -2.])
    """
    support = p.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if isinstance(support, type(constraints.real)):
        return p.log_prob(x)
    inside = p.support.check(x)
    events = inside.reshape(*inside.shape, *[1] * len(p.event_shape))
    return p.log_prob(torch.where(events, x, _inner_point(p))).masked_fill(~inside, -torch.inf)


def _inner_point(p: Distribution) -> Tensor:
    """Any point of the support, in whose place no gradient becomes NaN; the random state stays as it is."""
    with torch.no_grad(), torch.random.fork_rng():
        return p.sample()


def weigh(log_weight: Tensor, x: Tensor) -> Tensor:
    """e^log_weight · x, and 0 where the weight is 0, whatever x is."""
    return log_weight.exp() * x.masked_fill(log_weight == -torch.inf, 0.0)


def tilt(log_p: Tensor, log_q: Tensor, order: float) -> Tensor:
    """p^a q^(1-a), and 0 where both are 0."""
    neither = (log_p == -torch.inf) & (log_q == -torch.inf)
    exponent = order * log_p.masked_fill(neither, 0.0) + (1 - order) * log_q.masked_fill(neither, 0.0)
    return exponent.exp().masked_fill(neither, 0.0)
