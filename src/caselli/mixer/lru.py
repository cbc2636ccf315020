"""The linear recurrent unit: a diagonal complex recurrence, kept stable by its parameterisation."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.mixer.base import State
from caselli.mixer.parts import RecurrentMixer
from caselli.ops import exact, no_autocast, scan_pairs
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class UnitState(State):
    """Real parts of the hidden state, then imaginary parts."""

    memory: Float[Tensor, "B S"]


class LRU(RecurrentMixer):
    r"""The linear recurrent unit.

    .. math::
        h_t = \lambda \odot h_{t-1} + \gamma \odot B x_t, \quad y_t = \mathrm{Re}(C h_t) + D \odot x_t, \qquad
        \lambda = e^{-e^\nu + i e^\theta}

    Arguments:
        width: E.
        state_size: complex numbers in h; by default E.
        least, greatest: bounds of |λ| at first.
        phase: bound of λ's angle at first, radians.
        chunk_size: tokens of a piece of the chunk form.

    Source: Orvieto et al. 2023, Resurrecting Recurrent Neural Networks for Long Sequences.

    Example:
        >>> y, state = LRU(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 128])
    """

    preferred_form = "parallel"

    def __init__(
        self,
        width: int,
        *,
        state_size: int | None = None,
        least: float = 0.0,
        greatest: float = 1.0,
        phase: float = 2 * math.pi,
        chunk_size: int = 64,
    ) -> None:
        super().__init__(width, chunk_size=chunk_size)
        if not 0 <= least < greatest <= 1:
            raise UserError(
                f"least {least} and greatest {greatest} were given", "0 ≤ least < greatest ≤ 1 was expected"
            )
        size = state_size or width
        self.state_size = size
        radius = torch.empty(size).uniform_(least**2, greatest**2).clamp(1e-6, 1 - 1e-6)
        self.nu = nn.Parameter((-0.5 * radius.log()).log())
        self.theta = nn.Parameter((phase * torch.rand(size).clamp(min=1e-6)).log())
        self.log_gamma = nn.Parameter(0.5 * torch.log1p(-radius))
        self.b = nn.Parameter(torch.randn(2 * size, width) / math.sqrt(2 * width))
        self.c = nn.Parameter(torch.randn(width, 2 * size) / math.sqrt(size))
        self.skip = nn.Parameter(torch.randn(width))

    @classmethod
    def of_state(cls, width, numbers, **options):
        # E complex numbers whatever is asked for: B and C of E · S would outgrow the other mixers' weights
        return cls(width, **options)

    def initial_state(self, batch: int, capacity: int | None = None) -> UnitState:
        return UnitState(self.zeros(batch, 2 * self.state_size))

    def chunk(self, x, state, starts):
        return self._pieces(self.parallel, self.chunk_size, x, state, starts)

    def mix(self, x, state, starts, size):
        with no_autocast(x):
            eigenvalues = torch.complex(-exact(self.nu).exp(), exact(self.theta).exp()).exp()
            written = F.linear(exact(x), exact(self.b)) * exact(self.log_gamma).exp().repeat(2)
            decay = eigenvalues.expand(1, x.shape[1], -1)
            if starts is not None:
                decay = decay * ~starts[..., None]
            h = scan_pairs(decay, written, state.memory)
            real, imaginary = exact(self.c).chunk(2, 1)
            y = F.linear(h, torch.cat((real, -imaginary), 1))
        return y.to(x.dtype) + x * self.skip, UnitState(h[:, -1])
