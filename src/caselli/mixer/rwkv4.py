"""RWKV-4: an exponentially weighted average of the past."""

from __future__ import annotations

import math

import torch
from torch import nn

from caselli.mixer.dense import Dense
from caselli.mixer.parts import RecurrentMixer, ShiftedState
from caselli.mixer.parts_rwkv import depth, left, shares, zigzag
from caselli.ops import EMPTY_EXPONENT, exact, token_shift, wkv


class RWKV4(RecurrentMixer):
    r"""Time mixing of RWKV-4.

    .. math::
        \mathrm{wkv}_t = \frac{\sum_{s<t} e^{-(t-1-s)w + k_s} v_s + e^{u+k_t} v_t}
        {\sum_{s<t} e^{-(t-1-s)w + k_s} + e^{u+k_t}}, \qquad
        y_t = W_o\big(\sigma(r_t) \odot \mathrm{wkv}_t\big)

    with w = e^decay, and r, k and v from x_t and x_{t−1} mixed channel by channel.

    Arguments:
        width: E.
        chunk_size: tokens of a piece of the chunk form.

    Source: Peng et al. 2023, RWKV: Reinventing RNNs for the Transformer Era.

    Example:
        >>> y, state = RWKV4(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 3, 64])
    """

    preferred_form = "parallel"

    def __init__(self, width: int, *, chunk_size: int = 64) -> None:
        super().__init__(width, chunk_size=chunk_size)
        self.decay = nn.Parameter(-5 + 8 * depth(width) ** 0.7)
        self.bonus = nn.Parameter(math.log(0.3) + zigzag(width))
        self.share_key, self.share_value = shares(width), shares(width)
        self.share_receptance = shares(width, 0.5)
        self.key = Dense(width, width, bias=False)
        self.value = Dense(width, width, bias=False)
        self.receptance = Dense(width, width, bias=False)
        self.output = Dense(width, width, bias=False)

    @classmethod
    def of_state(cls, width, numbers, **options):
        return cls(width, **options)  # its state is a row of numbers, of no other size

    def initial_state(self, batch: int, capacity: int | None = None) -> ShiftedState:
        memory = self.zeros(batch, 3, self.width)
        memory[:, 2] = EMPTY_EXPONENT
        return ShiftedState(self.zeros(batch, self.width), memory)

    def chunk(self, x, state, starts):
        return self._pieces(self.parallel, self.chunk_size, x, state, starts)

    def mix(self, x, state, starts, size):
        before = token_shift(x, state.token, starts)
        k = self.key(torch.lerp(before, x, self.share_key))
        v = self.value(torch.lerp(before, x, self.share_value))
        r = self.receptance(torch.lerp(before, x, self.share_receptance))
        y, memory = wkv(k, v, exact(self.decay).exp(), self.bonus, state.memory, starts=starts)
        return self.output(r.sigmoid() * y), left(x, memory, state)
