"""RWKV's feed-forward layer, to rebuild published models around our mixers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import lerp

from caselli.mixer.dense import Dense
from caselli.mixer.parts import RecurrentMixer, ShiftedState
from caselli.mixer.parts_rwkv import left, shares
from caselli.ops import token_shift


class ChannelMix(RecurrentMixer):
    r"""RWKV's feed-forward layer, which takes the place of a Transformer's MLP.

    .. math:: y_t = \sigma(W_r\, x^r_t) \odot W_v\, \mathrm{relu}(W_k\, x^k_t)^2

    with xʳ and xᵏ from x_t and x_{t−1} mixed channel by channel.

    Arguments:
        width: E.
        hidden: channels inside; by default 4 E.
        receptance: whether it has the gate (RWKV-4 to 6 do, RWKV-7 does not).
        chunk_size: tokens of a piece of the chunk form.

    Source: Peng et al. 2023, RWKV: Reinventing RNNs for the Transformer Era.
    """

    preferred_form = "parallel"

    def __init__(
        self, width: int, *, hidden: int | None = None, receptance: bool = True, chunk_size: int = 64
    ) -> None:
        super().__init__(width, chunk_size=chunk_size)
        hidden = hidden or 4 * width
        self.share_key = shares(width)
        self.key = Dense(width, hidden, bias=False)
        self.value = Dense(hidden, width, bias=False)
        self.share_receptance = shares(width) if receptance else None
        self.receptance = Dense(width, width, bias=False) if receptance else None

    def initial_state(self, batch: int, capacity: int | None = None) -> ShiftedState:
        return ShiftedState(self.zeros(batch, self.width), self.zeros(batch, 0))

    def mix(self, x, state, starts, size):
        before = token_shift(x, state.token, starts)
        y = self.value(F.relu(self.key(lerp(before, x, self.share_key))).square())
        if self.receptance is not None:
            y = self.receptance(lerp(before, x, self.share_receptance)).sigmoid() * y
        return y, left(x, state.memory, state)
