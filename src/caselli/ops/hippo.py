"""HiPPO: a signal's past, remembered as coefficients of a few functions that are updated online."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch

from caselli.errors import UnknownName, UserError
from caselli.shapes import Complex, Float, Tensor


@dataclasses.dataclass(frozen=True)
class LinearSystem:
    """ẋ(t) = A x(t) + B u(t), or x_t = A x_{t−1} + B u_t once discretised."""

    a: Float[Tensor, "n n"]
    b: Float[Tensor, "n"]


def legs(size: int, dtype: torch.dtype = torch.float64) -> LinearSystem:
    r"""Legendre polynomials on the whole past, stretched as it grows (scaled Legendre).

    .. math:: A_{nk} = -\sqrt{(2n+1)(2k+1)}\;(n>k),\quad -(n+1)\;(n=k),\quad 0\;(n<k);\qquad B_n = \sqrt{2n+1}

    Example:
        >>> legs(2).a.diagonal()
        tensor([-1., -2.], dtype=torch.float64)
    """
    n = torch.arange(size, dtype=dtype)
    root = (2 * n + 1).sqrt()
    return LinearSystem(-(root[:, None] * root).tril(-1) - torch.diag(n + 1), root)


def legt(size: int, window: float = 1.0, dtype: torch.dtype = torch.float64) -> LinearSystem:
    r"""Legendre polynomials on a sliding window of length θ (translated Legendre).

    .. math::
        A_{nk} = -\tfrac1\theta \sqrt{(2n+1)(2k+1)}\;\big(1\;(k \le n),\; (-1)^{n-k}\;(k > n)\big);\qquad
        B_n = \tfrac1\theta\sqrt{2n+1}

    Example:
        >>> legt(2, window=2.0).b
        tensor([0.5000, 0.8660], dtype=torch.float64)
    """
    n = torch.arange(size, dtype=dtype)
    root = (2 * n + 1).sqrt()
    sign = torch.where(n[:, None] >= n, 1.0, (-1.0) ** (n[:, None] - n))
    return LinearSystem(-(root[:, None] * root) * sign / window, root / window)


def lagt(size: int, dtype: torch.dtype = torch.float64) -> LinearSystem:
    r"""Laguerre functions on the whole past, which fades as e^{−x/2} (translated Laguerre).

    .. math:: A_{nk} = -1\;(n>k),\quad -\tfrac12\;(n=k),\quad 0\;(n<k);\qquad B_n = 1

    Example:
        >>> lagt(2).a
        tensor([[-0.5000,  0.0000],
                [-1.0000, -0.5000]], dtype=torch.float64)
    """
    return LinearSystem(
        torch.eye(size, dtype=dtype) / 2 - torch.ones(size, size, dtype=dtype).tril(),
        torch.ones(size, dtype=dtype),
    )


def fourier(size: int, window: float = 1.0, dtype: torch.dtype = torch.float64) -> LinearSystem:
    r"""Sines and cosines on a sliding window of length θ.

    .. math::
        A = \tfrac1\theta\big(2\pi\,\mathrm{blocks}
        (\begin{smallmatrix}0&-m\\m&0\end{smallmatrix}) - 2 B' B'^\top\big), \\
        B = \tfrac2\theta B', \quad B' = (1, 0, \sqrt2, 0, \sqrt2, \dots)

    with the blocks m = 1, 2, … in the order 0, sin 1·, cos 1·, …; size even.

    Example:
        >>> fourier(4, window=2.0).b
        tensor([1.0000, 0.0000, 1.4142, 0.0000], dtype=torch.float64)
    """
    if size % 2:
        raise UserError(f"size {size} was given", "an even number was expected: a sine for every cosine")
    frequency = torch.stack((torch.zeros(size // 2), torch.arange(size // 2)), -1).flatten()[1:].to(dtype)
    turn = math.pi * (torch.diag(frequency, -1) - torch.diag(frequency, 1))
    b = torch.zeros(size, dtype=dtype)
    b[::2] = math.sqrt(2)
    b[0] = 1
    return LinearSystem((turn - b[:, None] * b) * 2 / window, b * 2 / window)


HIPPO: dict[str, Callable[..., LinearSystem]] = {"legs": legs, "legt": legt, "lagt": lagt, "fourier": fourier}
"""The measures by which the past is remembered."""


def discretise(system: LinearSystem, step: float, method: str = "bilinear") -> LinearSystem:
    r"""The recurrence that a continuous system becomes when its input is held for a step Δ.

    .. math::
        \text{bilinear:}\;& \bar A = (I-\tfrac\Delta2 A)^{-1}(I+\tfrac\Delta2 A), \;
        \bar B = (I-\tfrac\Delta2 A)^{-1}\Delta B \\
        \text{zoh:}\;& \bar A = e^{\Delta A}, \; \bar B = A^{-1}(\bar A - I) B \\
        \text{euler:}\;& \bar A = I + \Delta A, \; \bar B = \Delta B \qquad
        \text{backward:}\; \bar A = (I-\Delta A)^{-1}, \; \bar B = (I-\Delta A)^{-1}\Delta B

    Arguments:
        system: A and B.
        step: Δ > 0.
        method: bilinear, zoh, euler or backward.

    Example:
        >>> discretise(LinearSystem(-torch.ones(1, 1), torch.ones(1)), 1.0, "zoh")
        LinearSystem(a=tensor([[0.3679]]), b=tensor([0.6321]))
    """
    a, b = system.a * step, system.b * step
    identity = torch.eye(len(b), dtype=a.dtype, device=a.device)
    if method == "euler":
        return LinearSystem(identity + a, b)
    if method == "zoh":
        # exp of [[A, B], [0, 0]] holds both parts, for a singular A too.
        joined = torch.zeros(len(b) + 1, len(b) + 1, dtype=a.dtype, device=a.device)
        joined[:-1, :-1], joined[:-1, -1] = a, b
        joined = torch.linalg.matrix_exp(joined)
        return LinearSystem(joined[:-1, :-1], joined[:-1, -1])
    share = {"bilinear": 0.5, "backward": 1.0}.get(method)
    if share is None:
        raise UnknownName("method", method, ("bilinear", "zoh", "euler", "backward"))
    inverse = torch.linalg.inv(identity - share * a)
    return LinearSystem(inverse @ (identity + (1 - share) * a), inverse @ b)


def remember(signal: Float[Tensor, "*B T"], system: LinearSystem) -> Float[Tensor, "*B T n"]:
    r"""The coefficients after every sample, c_t = Ā c_{t−1} + B̄ f_t, of a discretised system.

    Example:
        >>> remember(torch.ones(2), LinearSystem(torch.full((1, 1), 0.5), torch.ones(1))).flatten()
        tensor([1.0000, 1.5000])
    """
    c, coefficients = signal.new_zeros(*signal.shape[:-1], len(system.b)), []
    for sample in signal.unbind(-1):
        c = c @ system.a.T.to(signal) + sample[..., None] * system.b.to(signal)
        coefficients.append(c)
    return torch.stack(coefficients, -2)


def remember_all(
    signal: Float[Tensor, "*B T"], size: int, method: str = "bilinear"
) -> Float[Tensor, "*B T n"]:
    r"""The coefficients of `legs` after every sample: the measure stretches over all samples so far.

    .. math:: \dot c = \tfrac1t (A c + B f): \quad \Delta = \tfrac1t\ \text{at sample}\ t,\quad
        \text{for zoh the exact}\ \log\tfrac{t+1}{t}

    Source: Gu et al. 2020, HiPPO: Recurrent Memory with Optimal Polynomial Projections.

    Example:
        >>> remember_all(torch.ones(500), 2)[-1].round(decimals=2).abs()
        tensor([1., 0.])
    """
    system = legs(size)
    c, coefficients = signal.new_zeros(*signal.shape[:-1], size), []
    for t, sample in enumerate(signal.unbind(-1), 1):
        step = discretise(system, math.log1p(1 / t) if method == "zoh" else 1 / t, method)
        c = c @ step.a.T.to(signal) + sample[..., None] * step.b.to(signal)
        coefficients.append(c)
    return torch.stack(coefficients, -2)


def basis(name: str, positions: Float[Tensor, "p"], size: int) -> Float[Tensor, "p n"]:
    r"""The functions whose sum, weighted with the coefficients, is the past again.

    Arguments:
        name: a name of `HIPPO`.
        positions: for legs and legt in 0 … 1, 0 the oldest and 1 the present; for fourier in 0 … 1 from the
            present backwards; for lagt the time before the present, ≥ 0.
        size: how many functions.

    Example:
        >>> basis("legs", torch.tensor([1.0]), 3)
        tensor([[1.0000, 1.7321, 2.2361]])
    """
    if name not in HIPPO:
        raise UnknownName("basis", name, HIPPO)
    if name == "fourier":
        angle = 2 * math.pi * positions[:, None] * torch.arange(size // 2).to(positions)
        waves = torch.stack((angle.cos(), angle.sin()), -1).flatten(1) * math.sqrt(2)
        waves[:, 0] = 1
        return waves
    x = positions if name == "lagt" else 2 * positions - 1
    rows = [torch.ones_like(x), 1 - x if name == "lagt" else x]
    for n in range(1, size - 1):
        slope = 2 * n + 1 - x if name == "lagt" else (2 * n + 1) * x
        rows.append((slope * rows[n] - n * rows[n - 1]) / (n + 1))
    functions = torch.stack(rows[:size], 1)
    if name == "lagt":
        return functions * torch.exp(-x / 2)[:, None]
    return functions * (2 * torch.arange(size).to(x) + 1).sqrt()


def reconstruct(
    coefficients: Float[Tensor, "*B n"], name: str, positions: Float[Tensor, "p"]
) -> Float[Tensor, "*B p"]:
    """The remembered past at the given positions (see `basis`).

    Example:
        >>> reconstruct(torch.tensor([2.0, 0.0]), "legs", torch.tensor([0.0, 1.0]))
        tensor([2., 2.])
    """
    return coefficients @ basis(name, positions.to(coefficients), coefficients.shape[-1]).T


@dataclasses.dataclass(frozen=True)
class DiagonalPlusLowRank:
    """A = V (Λ − P P*) V*: one of each pair of conjugate eigenvalues, the negative imaginary parts."""

    eigenvalues: Complex[Tensor, "half"]
    p: Complex[Tensor, "half"]
    b: Complex[Tensor, "half"]


def legs_diagonal_plus_low_rank(size: int) -> DiagonalPlusLowRank:
    r"""LegS as S4 needs it: with P_n = √(n + ½), A + PPᵀ is −½ I plus a skew matrix, so normal.

    Source: Gu, Goel and Ré 2021, Efficiently Modeling Long Sequences with Structured State Spaces.

    Example:
        >>> legs_diagonal_plus_low_rank(4).eigenvalues.real
        tensor([-0.5000, -0.5000], dtype=torch.float64)
    """
    system = legs(size)
    p = (torch.arange(size, dtype=torch.float64) + 0.5).sqrt()
    normal = system.a + p[:, None] * p
    skew = (normal - normal.T) / 2
    imaginary, vectors = torch.linalg.eigh(skew * -1j)
    half = size // 2
    vectors = vectors[:, :half]
    return DiagonalPlusLowRank(
        torch.complex(normal.diagonal().mean().expand(half).contiguous(), imaginary[:half]),
        vectors.mH @ p.to(vectors),
        vectors.mH @ system.b.to(vectors),
    )
