"""The functions f of f-divergences, with their conjugates and the last layers of their critics."""

from __future__ import annotations

import dataclasses
import math
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


def _jeffreys_conjugate(t: Tensor) -> Tensor:
    w = lambert_of_exp(1 - t)
    return w + 1 / w + t - 2


def _two_log_two(u: Tensor) -> Tensor:
    return torch.xlogy(u, u) - (u + 1) * ((u + 1) / 2).log()


F_FUNCTIONS: dict[str, FFunction] = {
    "kl": FFunction(
        f=lambda u: torch.xlogy(u, u),
        slope=lambda u: 1 + u.log(),
        conjugate=lambda t: (t - 1).exp(),
        output=lambda v: v,
        conjugate_of_output=lambda v: (v - 1).exp(),
    ),
    "reverse_kl": FFunction(
        f=lambda u: -u.log(),
        slope=lambda u: -1 / u,
        conjugate=lambda t: -1 - (-t).log(),
        output=lambda v: -(-v).exp(),
        conjugate_of_output=lambda v: v - 1,
    ),
    "pearson": FFunction(
        f=lambda u: (u - 1) ** 2,
        slope=lambda u: 2 * (u - 1),
        conjugate=lambda t: t**2 / 4 + t,
        output=lambda v: v,
        conjugate_of_output=lambda v: v**2 / 4 + v,
    ),
    "neyman": FFunction(
        f=lambda u: (1 - u) ** 2 / u,
        slope=lambda u: 1 - u**-2,
        conjugate=lambda t: 2 - 2 * (1 - t).sqrt(),
        output=lambda v: -torch.expm1(v),
        conjugate_of_output=lambda v: -2 * torch.expm1(v / 2),
    ),
    "squared_hellinger": FFunction(
        f=lambda u: (u.sqrt() - 1) ** 2,
        slope=lambda u: 1 - u**-0.5,
        conjugate=lambda t: t / (1 - t),
        output=lambda v: -torch.expm1(-v),
        conjugate_of_output=lambda v: torch.expm1(v),
    ),
    "jensen_shannon": FFunction(
        f=_two_log_two,
        slope=lambda u: math.log(2) + u.log() - torch.log1p(u),
        conjugate=lambda t: -(2 - t.exp()).log(),
        output=lambda v: math.log(2) - softplus(-v),
        conjugate_of_output=lambda v: softplus(v) - math.log(2),
    ),
    "gan": FFunction(
        f=lambda u: torch.xlogy(u, u) - (u + 1) * (u + 1).log(),
        slope=lambda u: u.log() - torch.log1p(u),
        conjugate=lambda t: -(-torch.expm1(t)).log(),
        output=lambda v: -softplus(-v),
        conjugate_of_output=softplus,
    ),
    "jeffreys": FFunction(
        f=lambda u: (u - 1) * u.log(),
        slope=lambda u: 1 + u.log() - 1 / u,
        conjugate=_jeffreys_conjugate,
        output=lambda v: v,
        conjugate_of_output=_jeffreys_conjugate,
    ),
}
"""The functions by name."""
