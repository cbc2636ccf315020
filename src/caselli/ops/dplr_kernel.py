"""S4's convolution kernel: a diagonal-plus-low-rank system seen through its generating function."""

from __future__ import annotations

import dataclasses

import torch

from caselli.ops.pairs import as_complex, as_real, pair_product
from caselli.shapes import Complex, Float, Tensor


@dataclasses.dataclass(frozen=True)
class DplrSystem:
    r"""ẋ = (Λ − Σ P P*) x + B u, y = 2 Re(C x) for each of D channels, in steps of Δ by the bilinear rule.

    P has R columns, the rank. Of each pair of conjugate modes one is kept: n = S/2 complex numbers, or S real
    ones [Re, Im].
    """

    eigenvalues: Complex[Tensor, "D n"]
    p: Complex[Tensor, "R D n"]
    b: Complex[Tensor, "D n"]
    c: Complex[Tensor, "D n"]
    delta: Float[Tensor, "D"]

    def advance(
        self, state: Float[Tensor, "*A D S"], x: Float[Tensor, "*A D"] | None = None
    ) -> Float[Tensor, "*A D S"]:
        """One step: (I − Δ/2 A)⁻¹ ((I + Δ/2 A) x + Δ B u), in time linear in S, on real states."""
        delta, ps = self.delta[:, None], as_real(self.p).unbind()
        right = pair_product(as_real(0.5 * self.eigenvalues), state)
        for p in ps:
            right = right - p * (p * state).sum(-1, keepdim=True)
        right = state + delta * right
        if x is not None:
            right = right + delta * as_real(self.b) * x[..., None]
        diagonal = 1 / (1 - 0.5 * delta * self.eigenvalues)
        solved, columns = pair_product(as_real(diagonal), right), [*as_real(diagonal * self.p).unbind()]
        for r, p in enumerate(ps):  # one rank more each time, by Sherman and Morrison
            column = columns[r]
            scale = delta / (1 + delta * (p * column).sum(-1, keepdim=True))
            solved, *later = (
                y - column * (scale * (p * y).sum(-1, keepdim=True)) for y in (solved, *columns[r + 1 :])
            )
            columns[r + 1 :] = later
        return solved

    def transition(self) -> Float[Tensor, "D S S"]:
        """Ā as a matrix on real states."""
        count, n = self.b.shape
        basis = torch.eye(2 * n, dtype=self.delta.dtype, device=self.delta.device)
        return self.advance(basis[:, None].expand(-1, count, -1)).permute(1, 2, 0)

    def into(self) -> Float[Tensor, "D S"]:
        """B̄ on real states."""
        return self.advance(torch.zeros_like(as_real(self.b)), torch.ones_like(self.delta))

    def out(self) -> Float[Tensor, "D S"]:
        """C on real states."""
        return 2 * as_real(self.c.conj_physical())


def dplr_kernel_definition(system: DplrSystem, length: int) -> Float[Tensor, "D L"]:
    """K_l = C Āˡ B̄, step by step."""
    state, kernel = system.into(), []
    for _ in range(length):
        kernel.append((system.out() * state).sum(-1))
        state = system.advance(state)
    return torch.stack(kernel, -1)


def dplr_kernel(system: DplrSystem, length: int) -> Float[Tensor, "D L"]:
    r"""The kernel K_l = C Āˡ B̄ from its values at the roots of unity ω, by Cauchy products.

    .. math::
        \hat K(\omega) = 2\Big[\langle \tilde C, B\rangle - (1+\omega)
        \frac{\langle \tilde C, P\rangle \langle \bar P, B\rangle}
             {1 + (1+\omega)\langle \bar P, P\rangle}\Big], \quad
        \langle a, b\rangle = \sum_n \frac{a_n b_n}{\tfrac2\Delta(1-\omega) - \lambda_n(1+\omega)}

    with C̃ = C (I − Āᴸ), here of rank 1; every further P_r is taken off the same way. Multiplying by 1 + ω
    first leaves nothing singular at ω = −1.

    Arguments:
        system: eigenvalues with negative real parts.
        length: L.

    Source: Gu, Goel and Ré 2021, Efficiently Modeling Long Sequences with Structured State Spaces.

    Example:
        >>> one = torch.ones(1, 1, dtype=torch.complex64)
        >>> system = DplrSystem(-one, 0 * one[None], one, one, torch.ones(1))
        >>> torch.allclose(dplr_kernel(system, 4), dplr_kernel_definition(system, 4), atol=1e-6)
        True
    """
    power = torch.linalg.matrix_power(system.transition(), length)
    out = system.out()
    c = as_complex(out - (out[:, None] @ power)[:, 0]).conj() / 2
    angle = torch.arange(length // 2 + 1, device=out.device, dtype=out.dtype) * (-2 * torch.pi / length)
    omega = torch.polar(torch.ones_like(angle), angle)
    shift = 2 / system.delta[:, None, None] * (1 - omega)

    upper = 1 / (shift - system.eigenvalues[..., None] * (1 + omega))
    lower = 1 / (shift - system.eigenvalues.conj()[..., None] * (1 + omega))

    def product(a: Tensor, b: Tensor) -> Tensor:
        """⟨a, b⟩ over both modes of each pair."""
        return ((a * b)[:, None] @ upper + (a * b).conj()[:, None] @ lower)[:, 0]

    rows, columns = [c, *(p.conj() for p in system.p)], [system.b, *system.p]
    table = [[product(a, b) for b in columns] for a in rows]
    while len(table) > 1:
        *table, last = table
        *last, corner = last
        factor = (1 + omega) / (1 + (1 + omega) * corner)
        table = [[ab - factor * row[-1] * pb for ab, pb in zip(row[:-1], last, strict=True)] for row in table]
    return torch.fft.irfft(2 * table[0][0], length)
