"""Further HiPPO measures, and what makes each system normal: its low-rank correction."""

from __future__ import annotations

import math

import torch

from caselli.errors import UnknownName, UserError
from caselli.ops.hippo import LinearSystem
from caselli.shapes import Complex, Float, Tensor


def lmu(size: int, dtype: torch.dtype = torch.float64) -> LinearSystem:
    r"""Legendre memory unit: translated Legendre, unnormalised.

    .. math:: A_{nk} = (2n+1)\;\big((-1)^{n-k+1}\;(k \le n),\; -1\;(k > n)\big);\qquad B_n = (-1)^n (2n+1)

    Source: Voelker, Kajić and Eliasmith 2019, Legendre Memory Units.

    Example:
        >>> lmu(2).b
        tensor([ 1., -3.], dtype=torch.float64)
    """
    n = torch.arange(size, dtype=dtype)
    sign = torch.where(n[:, None] >= n, -((-1.0) ** (n[:, None] - n)), -1.0)
    return LinearSystem((2 * n[:, None] + 1) * sign, (-1.0) ** n * (2 * n + 1))


def legsd(size: int, dtype: torch.dtype = torch.float64) -> LinearSystem:
    r"""The normal part of scaled Legendre, for a diagonal system; B is halved.

    .. math:: A = A_\text{LegS} + \tfrac12 B_\text{LegS} B_\text{LegS}^\top,\qquad B = \tfrac12 B_\text{LegS}

    Source: Gupta, Gu and Berant 2022, Diagonal State Spaces are as Effective as Structured State Spaces.

    Example:
        >>> legsd(2).a.diagonal()
        tensor([-0.5000, -0.5000], dtype=torch.float64)
    """
    n = torch.arange(size, dtype=dtype)
    root = (2 * n + 1).sqrt()
    a = -(root[:, None] * root).tril(-1) - torch.diag(n + 1)
    return LinearSystem(a + root[:, None] * root / 2, root / 2)


def glagt(
    size: int, alpha: float = 0.0, beta: float = 0.01, dtype: torch.dtype = torch.float64
) -> LinearSystem:
    r"""Generalised Laguerre functions on the whole past, which fades as x^α e^{−βx}.

    .. math::
        A = L^{-1}\big(-\tfrac{1+\beta}2 I - \mathrm{tril}(1, -1)\big) L, \quad
        B_n = L_n^{-1} \tbinom{n+\alpha}{n} \beta^{(1-\alpha)/2} / \sqrt{\Gamma(1-\alpha)}, \quad
        L_n = \sqrt{\Gamma(n+\alpha+1) / \Gamma(n+1)}

    Arguments:
        size: coefficients.
        alpha: α, below 1.
        beta: β > 0.
        dtype: of the matrices.

    Source: Gu et al. 2020, HiPPO: Recurrent Memory with Optimal Polynomial Projections.

    Example:
        >>> glagt(2).b
        tensor([0.1000, 0.1000], dtype=torch.float64)
    """
    if alpha >= 1 or beta <= 0:
        raise UserError(f"alpha {alpha} and beta {beta} were given", "alpha < 1 and beta > 0 were expected")
    n = torch.arange(size, dtype=dtype)
    scale = ((n + alpha + 1).lgamma() - (n + 1).lgamma()).div(2).exp()
    binomial = scale.square() / math.gamma(alpha + 1)
    a = -torch.eye(size, dtype=dtype) * (1 + beta) / 2 - torch.ones(size, size, dtype=dtype).tril(-1)
    b = binomial / scale * beta ** ((1 - alpha) / 2) / math.sqrt(math.gamma(1 - alpha))
    return LinearSystem(a * scale / scale[:, None], b)


def fourier_decay(size: int, dtype: torch.dtype = torch.float64) -> LinearSystem:
    r"""Sines and cosines that fade within a window; half of a sliding window's A and B.

    Example:
        >>> fourier_decay(2).b
        tensor([0.5000, 0.0000], dtype=torch.float64)
    """
    waves, b = _waves(size, dtype)
    return LinearSystem(waves / 2 - b[:, None] * b / 2, b / 2)


def fourier_diag(size: int, dtype: torch.dtype = torch.float64) -> LinearSystem:
    r"""Sines and cosines that all fade alike, for a diagonal system: eigenvalues −½ ± 2πi m.

    Example:
        >>> fourier_diag(2).a.diagonal()
        tensor([-0.5000, -0.5000], dtype=torch.float64)
    """
    waves, b = _waves(size, dtype)
    return LinearSystem(waves - torch.eye(size, dtype=dtype) / 2, b)


def _waves(size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    if size % 2:
        raise UserError(f"{size} coefficients were asked for", "an even number was expected")
    turns = torch.stack((torch.arange(size // 2), torch.zeros(size // 2)), 1).flatten()[:-1].to(dtype)
    b = torch.zeros(size, dtype=dtype)
    b[0::2], b[0] = math.sqrt(2), 1.0
    return 2 * math.pi * (torch.diag(turns, -1) - torch.diag(turns, 1)), b


def correction(measure: str, size: int, dtype: torch.dtype = torch.float64) -> Float[Tensor, "rank n"]:
    r"""P such that :math:`A + \sum_r P_r P_r^\top` is normal.

    Arguments:
        measure: legs, legt or fourier (windows of length 2 and 1, as S4 has them), or lagt.
        size: n.
        dtype: of P.

    Source: Gu, Goel and Ré 2021, Efficiently Modeling Long Sequences with Structured State Spaces.

    Example:
        >>> correction("lagt", 2)
        tensor([[0.7071, 0.7071]], dtype=torch.float64)
    """
    n = torch.arange(size, dtype=dtype)
    even = (n % 2 == 0).to(dtype)
    if measure == "legs":
        return (n + 0.5).sqrt()[None]
    if measure == "legt":
        return torch.stack((1 - even, even)) * (n + 0.5).sqrt()
    if measure == "lagt":
        return torch.full((1, size), math.sqrt(0.5), dtype=dtype)
    if measure == "fourier":
        return _waves(size, dtype)[1][None]
    raise UnknownName("measure", measure, ("legs", "legt", "lagt", "fourier"))


def diagonal_plus_low_rank(
    system: LinearSystem, p: Float[Tensor, "rank n"]
) -> tuple[Complex[Tensor, "half"], Complex[Tensor, "rank half"], Complex[Tensor, "half"]]:
    r"""A = V (Λ − Σ P P*) V*: Λ, V*P and V*B of one of each pair of conjugate eigenvalues.

    Arguments:
        system: one that `correction` makes a multiple of I plus a skew matrix.
        p: that correction.

    Example:
        >>> from caselli.ops.hippo import legs
        >>> diagonal_plus_low_rank(legs(4), correction("legs", 4))[0].real
        tensor([-0.5000, -0.5000], dtype=torch.float64)
    """
    normal = system.a + p.mT @ p
    imaginary, vectors = torch.linalg.eigh((normal - normal.mT) / 2 * -1j)
    half = len(normal) // 2
    back = vectors[:, :half].mH
    real = normal.diagonal().mean().expand(half).contiguous()
    eigenvalues = torch.complex(real, imaginary[:half])
    return eigenvalues, (back @ p.mT.to(back)).mT, back @ system.b.to(back)
