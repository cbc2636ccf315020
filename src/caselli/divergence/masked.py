"""Densities in logarithms, where either may be zero."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution


def log_density(p: Distribution, x: Tensor) -> Tensor:
    """log p(x), minus infinity outside the support."""
    inside = p.support.check(x)
    point = p.sample().detach().expand(x.shape)
    events = inside.reshape(*inside.shape, *[1] * len(p.event_shape))
    return p.log_prob(torch.where(events, x, point)).masked_fill(~inside, -torch.inf)


def weigh(log_weight: Tensor, x: Tensor) -> Tensor:
    """e^log_weight · x, and 0 where the weight is 0, whatever x is."""
    return log_weight.exp() * x.masked_fill(log_weight == -torch.inf, 0.0)


def tilt(log_p: Tensor, log_q: Tensor, order: float) -> Tensor:
    """p^a q^(1-a), and 0 where both are 0."""
    neither = (log_p == -torch.inf) & (log_q == -torch.inf)
    exponent = order * log_p.masked_fill(neither, 0.0) + (1 - order) * log_q.masked_fill(neither, 0.0)
    return exponent.exp().masked_fill(neither, 0.0)
