"""S4: a state-space model whose matrix is HiPPO's, diagonal plus low rank."""

from __future__ import annotations

import math

import torch
from torch import nn

from caselli.errors import UserError
from caselli.mixer.parts import log_uniform
from caselli.mixer.state_space import Response, StateSpace
from caselli.ops import (
    HIPPO,
    DplrSystem,
    as_complex,
    as_real,
    correction,
    diagonal_plus_low_rank,
    dplr_kernel,
    exact,
    legs_diagonal_plus_low_rank,
)
from caselli.shapes import Tensor


class S4(StateSpace):
    r"""The structured state-space model (S4): A = Λ − Σ P P* from HiPPO, by the bilinear rule.

    .. math:: x_t = \bar A x_{t-1} + \bar B u_t, \quad y_t = 2\,\mathrm{Re}(C x_t) + D u_t

    with GELU, GLU and a mix of the channels behind it. The parallel form has the kernel from Cauchy products;
    in chunks the powers of Ā come by doubling. C is kept as it is, not tied to a length.

    Arguments:
        width: E.
        state_size: S, even: S/2 complex modes a channel.
        measure: HiPPO's matrices: legs, lagt or fourier, of rank 1, or legt, of rank 2.
        chunk_size: tokens that are compared directly.

    Source: Gu, Goel and Ré 2021, Efficiently Modeling Long Sequences with Structured State Spaces.

    Example:
        >>> y, state = S4(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 64, 64])
    """

    def __init__(
        self, width: int, *, state_size: int = 64, measure: str = "legs", chunk_size: int = 64
    ) -> None:
        super().__init__(width, state_size=state_size, chunk_size=chunk_size)
        if state_size < 2 or state_size % 2:
            raise UserError(f"state_size {state_size} was given", "an even number was expected")
        eigenvalues, p, b = _measured(measure, state_size)
        self.log_delta = nn.Parameter(log_uniform(1e-3, 1e-1, width).log())
        self.log_real = nn.Parameter((-eigenvalues.real).log().float().repeat(width, 1))
        self.imaginary = nn.Parameter(eigenvalues.imag.float().repeat(width, 1))
        self.p = nn.Parameter(as_real(p).flatten().float().repeat(width, 1))
        self.b = nn.Parameter(as_real(b).float().repeat(width, 1))
        self.c = nn.Parameter(torch.randn(width, state_size) * math.sqrt(0.5))

    def system(self) -> DplrSystem:
        """The continuous system and its step."""
        eigenvalues = torch.complex(-exact(self.log_real).exp(), exact(self.imaginary))
        p, b, c = (
            as_complex(exact(part)) for part in (self.p.unflatten(1, (-1, self.state_size)), self.b, self.c)
        )
        return DplrSystem(eigenvalues, p.movedim(1, 0), b, c, exact(self.log_delta).exp())

    def kernel(self, length):
        return dplr_kernel(self.system(), length)

    def response(self, size):
        system = self.system()
        power, b, c = system.transition(), system.into()[..., None], system.out()[:, None]
        read, write = c @ power, b
        while read.shape[1] < size:
            read = torch.cat((read, read @ power), 1)
            write = torch.cat((power @ write, write), 2)
            power = power @ power
        read, write = read[:, :size], write[:, :, -size:]
        kernel = torch.cat((c @ b, read[:, :-1] @ b), 1)[..., 0]
        return Response(kernel, read, write)

    def carry(self, written, passes, state, size):
        power = torch.linalg.matrix_power(self.system().transition(), size)
        states = []
        keeps = [None] * written.shape[1] if passes is None else passes.unbind(1)
        for new, keep in zip(written.unbind(1), keeps, strict=True):
            state = torch.einsum("dst,bdt->bds", power, state)
            state = new + (state if keep is None else state * keep[:, None, None])
            states.append(state)
        return torch.stack(states, 1)

    def advance(self, x, state):
        system = self.system()
        state = system.advance(state, x)
        return (system.out() * state).sum(-1), state


def _measured(measure: str, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Λ, P of every rank, and B of a measure of HiPPO, with windows as S4 has them."""
    if measure == "legs":
        legs = legs_diagonal_plus_low_rank(size)
        return legs.eigenvalues, legs.p[None], legs.b
    p = correction(measure, size)
    window = {"legt": {"window": 2.0}, "fourier": {"window": 1.0}}.get(measure, {})
    return diagonal_plus_low_rank(HIPPO[measure](size, **window), p)
