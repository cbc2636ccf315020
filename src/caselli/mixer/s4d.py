"""S4D: a state-space model with a diagonal matrix."""

from __future__ import annotations

import math

import torch
from torch import nn

from caselli.errors import UnknownName, UserError
from caselli.mixer.parts import log_uniform
from caselli.mixer.state_space import Response, StateSpace
from caselli.ops import as_complex, as_real, exact, legs_diagonal_plus_low_rank, pair_product, scan_pairs
from caselli.shapes import Complex, Tensor

INITIAL = ("lin", "inv", "inv2", "quad", "legs", "real")
DISCRETISATIONS = ("zoh", "bilinear", "dss")


def initial_eigenvalues(name: str, state_size: int) -> Complex[Tensor, "n"]:
    r"""One of each conjugate pair, n = 0 … S/2 − 1.

    .. math::
        \text{lin:}\; -\tfrac12 + i\pi n, \quad
        \text{inv:}\; -\tfrac12 + i \tfrac S\pi\big(\tfrac{S}{2n+1} - 1\big), \quad
        \text{inv2:}\; -\tfrac12 + i \tfrac S\pi\big(\tfrac{S}{n+1} - 1\big), \quad
        \text{quad:}\; -\tfrac12 + \tfrac i\pi (2n+1)^2, \quad
        \text{real:}\; -(n+1), \quad \text{legs: those of HiPPO-LegS without its low-rank part}

    Example:
        >>> initial_eigenvalues("real", 4)
        tensor([-1.+0.j, -2.+0.j])
    """
    if name not in INITIAL:
        raise UnknownName("initial", name, INITIAL)
    n = torch.arange(state_size // 2, dtype=torch.float64)
    if name == "legs":
        return legs_diagonal_plus_low_rank(state_size).eigenvalues.conj().resolve_conj().to(torch.complex64)
    if name == "real":
        return torch.complex(-(n + 1), 0 * n).to(torch.complex64)
    imaginary = {
        "lin": math.pi * n,
        "inv": state_size / math.pi * (state_size / (2 * n + 1) - 1),
        "inv2": state_size / math.pi * (state_size / (n + 1) - 1),
        "quad": (2 * n + 1).square() / math.pi,
    }
    return torch.complex(-0.5 * torch.ones_like(n), imaginary[name]).to(torch.complex64)


class S4D(StateSpace):
    r"""The diagonal state-space model (S4D).

    .. math:: K_l = 2\,\mathrm{Re} \sum_n C_n \bar B_n \bar A_n^l, \qquad
        \bar A = e^{\Delta A},\; \bar B = A^{-1}(\bar A - 1) \;\text{(zoh)}

    with A = −e^a + ib, B = 1, and GELU, GLU and a mix of the channels behind it. DSS divides each mode by its
    sum over L tokens instead, a softmax over them, and counts it once:

    .. math:: \bar B = (\bar A - 1)\, \frac{\bar x}{|x|^2 + 10^{-7}}, \quad x = (\bar A^L - 1) A, \qquad
        K_l = \mathrm{Re} \sum_n C_n \bar B_n \bar A_n^l

    Arguments:
        width: E.
        state_size: S, even: S/2 complex modes a channel.
        initial: eigenvalues at first: lin, inv, inv2, quad, legs or real.
        discretisation: zoh, bilinear or dss.
        summed: L of dss; the same for every sequence, however long.
        chunk_size: tokens that are compared directly.

    Sources: Gu et al. 2022, On the Parameterization and Initialization of Diagonal State Space Models; Gupta,
    Gu and Berant 2022, Diagonal State Spaces are as Effective as Structured State Spaces (DSS).

    Example:
        >>> y, state = S4D(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 64, 64])
    """

    def __init__(
        self,
        width: int,
        *,
        state_size: int = 64,
        initial: str = "lin",
        discretisation: str = "zoh",
        summed: int = 1024,
        chunk_size: int = 64,
    ) -> None:
        super().__init__(width, state_size=state_size, chunk_size=chunk_size)
        if state_size < 2 or state_size % 2:
            raise UserError(f"state_size {state_size} was given", "an even number was expected")
        if discretisation not in DISCRETISATIONS:
            raise UnknownName("discretisation", discretisation, DISCRETISATIONS)
        if summed < 1:
            raise UserError(f"summed {summed} was given", "at least 1 was expected")
        self.discretisation, self.summed = discretisation, summed
        eigenvalues = initial_eigenvalues(initial, state_size).repeat(width, 1)
        self.log_delta = nn.Parameter(log_uniform(1e-3, 1e-1, width).log())
        self.log_real = nn.Parameter((-eigenvalues.real).log())
        self.imaginary = nn.Parameter(eigenvalues.imag.contiguous())
        self.c = nn.Parameter(torch.randn(width, state_size) * math.sqrt(0.5))

    def _modes(self):
        """log Ā, B̄ and C, `D n` each."""
        delta = exact(self.log_delta).exp()[:, None]
        a = torch.complex(-exact(self.log_real).exp(), exact(self.imaginary))
        c = as_complex(exact(self.c))
        if self.discretisation == "zoh":
            return delta * a, torch.expm1(delta * a) / a, c
        if self.discretisation == "dss":
            x = torch.expm1(self.summed * delta * a) * a
            return delta * a, torch.expm1(delta * a) * x.conj() / (x.abs().square() + 1e-7), c / 2
        return torch.log((1 + delta * a / 2) / (1 - delta * a / 2)), delta / (1 - delta * a / 2), c

    def kernel(self, length):
        log_a, b, c = self._modes()
        powers = (log_a[..., None] * torch.arange(length, device=b.device)).exp()
        return 2 * ((c * b)[:, None] @ powers)[:, 0].real

    def response(self, size):
        log_a, b, c = self._modes()
        powers = (log_a[..., None] * torch.arange(size + 1, device=b.device)).exp()
        kernel = 2 * ((c * b)[:, None] @ powers[..., :-1])[:, 0].real
        read = 2 * as_real((c[..., None] * powers[..., 1:]).mT.conj())
        write = as_real((b[..., None] * powers[..., :-1].flip(-1)).mT).mT
        return Response(kernel, read, write)

    def carry(self, written, passes, state, size):
        decay = (size * self._modes()[0]).exp().expand(*written.shape[:2], -1, -1)
        if passes is not None:
            decay = decay * passes[..., None, None]
        return scan_pairs(decay, written, state)

    def advance(self, x, state):
        log_a, b, c = self._modes()
        state = pair_product(as_real(log_a.exp()), state) + as_real(b) * x[..., None]
        return (2 * as_real(c.conj_physical()) * state).sum(-1), state
