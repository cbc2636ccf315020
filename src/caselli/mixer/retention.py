"""Retention: linear attention that forgets at a fixed rate, slow in some heads and fast in others."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.mixer.base import State
from caselli.mixer.dense import Dense
from caselli.mixer.parts import RecurrentMixer, head_count, rms_normalise, split_heads
from caselli.ops import linear_attention, rotary
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class RetentionState(State):
    """One matrix a head, and how many tokens went by: queries and keys turn with their position."""

    matrix: Float[Tensor, "B N d v"]
    length: int


class Retention(RecurrentMixer):
    r"""Multi-scale retention (RetNet).

    .. math::
        S_t = \gamma S_{t-1} + k_t v_t^\top, \quad o_t = S_t^\top q_t, \qquad
        y_t = W_o\big(\mathrm{silu}(W_g x_t) \odot \mathrm{RMSNorm}(o_t)\big)

    with γ = 1 − 2^{−5−h} in head h, rotated queries and keys, and k over √d. Nothing is rescaled before the
    norm, so that the three forms are equal.

    Arguments:
        width: E, an even number for each head.
        heads: N; by default one for every 64 channels.
        value_factor: channels of all values over E.
        epsilon: of the norm.
        chunk_size: tokens that are compared directly.

    Source: Sun et al. 2023, Retentive Network: A Successor to Transformer for Large Language Models.

    Example:
        >>> y, state = Retention(width=64)(torch.zeros(2, 5, 64))
        >>> state.matrix.shape
        torch.Size([2, 1, 64, 128])
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int | None = None,
        value_factor: int = 2,
        epsilon: float = 1e-6,
        chunk_size: int = 64,
    ) -> None:
        super().__init__(width, chunk_size=chunk_size)
        self.heads, self.epsilon = head_count(width, heads), epsilon
        if (width // self.heads) % 2:
            raise UserError(
                f"width {width} and {self.heads} heads were given",
                "an even number of channels a head was expected",
            )
        self.value_width = value_factor * width // self.heads
        self.query = Dense(width, width, bias=False)
        self.key = Dense(width, width, bias=False)
        self.value = Dense(width, value_factor * width, bias=False)
        self.gate = Dense(width, value_factor * width, bias=False)
        self.output = Dense(value_factor * width, width, bias=False)
        for projection in (self.query, self.key, self.value, self.gate):
            nn.init.xavier_uniform_(projection.weight, gain=2**-2.5)
        nn.init.xavier_uniform_(self.output.weight, gain=2**-1)

    @classmethod
    def of_state(cls, width, numbers, **options):
        return super().of_state(width, numbers, value_factor=1, **options)

    def initial_state(self, batch: int, capacity: int | None = None) -> RetentionState:
        matrix = self.zeros(batch, self.heads, self.width // self.heads, self.value_width)
        return RetentionState(matrix, length=0)

    def mix(self, x, state, starts, size):
        length = x.shape[1]
        angles = self._angles(state.length, length, x.device)
        q, k = (split_heads(p(x), self.heads).transpose(1, 2) for p in (self.query, self.key))
        q, k = rotary(q, angles), rotary(k * k.shape[-1] ** -0.5, angles)
        v = split_heads(self.value(x), self.heads)
        exponent = torch.arange(5, 5 + self.heads, device=x.device, dtype=state.matrix.dtype)
        log_decay = torch.log1p(-(2.0**-exponent)).expand(*x.shape[:2], self.heads)
        y, matrix = linear_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v,
            state.matrix,
            log_decay=log_decay,
            starts=starts,
            chunk_size=size,
        )
        y = F.silu(self.gate(x)) * rms_normalise(y, self.epsilon).flatten(2)
        return self.output(y), RetentionState(matrix, state.length + length)

    def _angles(self, offset, length, device):
        """In float64: a float32 angle at position 10⁵ is off by a hundredth."""
        positions = torch.arange(offset, offset + length, dtype=torch.float64, device=device)
        exponents = torch.linspace(0, 1, self.width // self.heads // 2, dtype=torch.float64, device=device)
        return positions[:, None] * torch.exp(-math.log(10_000.0) * exponents)
