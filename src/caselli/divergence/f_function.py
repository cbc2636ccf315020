"""The function of an f-divergence for critics: f, its conjugate, and the critic's last layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

Scalar = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class FFunction:
    r""":math:`D_f(P \| Q) = E_Q f(p/q) \ge E_P\, g(v) - E_Q f^*(g(v))`, equal where g(v) = f'(p/q)."""

    f: Scalar
    slope: Scalar
    """f', the best critic as a function of p/q."""
    conjugate_of_output: Scalar
    """f*(g(v)), written so that no large v overflows where the composition does not."""
    conjugate: Scalar
    """f*."""
    output: Scalar
    """g, which maps a critic's free output v into the domain of f*."""


def lambert_of_exp(y: Tensor) -> Tensor:
    """W(eʸ): the w with w + log w = y.

    Example:
        >>> lambert_of_exp(torch.tensor(1.0))
        tensor(1.)
    """
    with torch.no_grad():
        w = torch.where(y > 1, y - y.clamp_min(1).log(), softplus(y) / 1.3)
        for _ in range(6):
            w = _newton(w, y)
    return _newton(w, y)  # at the solution one step changes no value and has the derivative w / (1 + w)


def _newton(w: Tensor, y: Tensor) -> Tensor:
    w = w.clamp_min(torch.finfo(w.dtype).tiny)
    return w * (1 + y - w.log()) / (1 + w)


def jeffreys_conjugate(t: Tensor) -> Tensor:
    """f* of Jeffreys' divergence."""
    w = lambert_of_exp(1 - t)
    return w + 1 / w + t - 2
