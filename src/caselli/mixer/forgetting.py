"""Forgetting attention: softmax attention with a forget gate in place of positions."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from caselli.mixer.dense import Dense
from caselli.mixer.heads import AttentionState, ProjectingMixer, append, refuse_bidirectional
from caselli.mixer.packing import begins
from caselli.ops import exact, forgetting_attention, packed_mask
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class ForgettingState(AttentionState):
    """Keys, values, and what was forgotten up to each of them."""

    totals: Float[Tensor, "B N R 1"]
    """Sums of logarithms, float64: a token needs their differences alone."""


class ForgettingAttention(ProjectingMixer):
    r"""Multi-head attention that forgets (FoX).

    .. math::
        y_t = W_o\Big(\sigma(W_g x_t) \odot \sum_{s \le t} \mathrm{softmax}_s\Big(q_t \cdot k_s / \sqrt d
        + \sum_{u=s+1}^t \log \sigma(w \cdot x_u + b)\Big)\, v_s\Big)

    with one w and b for each head. The state keeps every key and value.

    Arguments: `width` and those of `caselli.mixer.heads.ProjectingMixer`; no rotary positions by default.

    Source: Lin et al. 2025, Forgetting Transformer: Softmax Attention with a Forget Gate.

    Example:
        >>> y, state = ForgettingAttention(width=64)(torch.zeros(2, 5, 64))
        >>> state.totals.shape
        torch.Size([2, 1, 5, 1])
    """

    preferred_form = "chunk"

    def __init__(self, width: int, *, rotary_base: float = 0.0, **options) -> None:
        super().__init__(width, rotary_base=rotary_base, **options)
        refuse_bidirectional(self)
        self.forget = Dense(width, self.heads)
        self.gate = Dense(width, width, bias=False)

    def initial_state(self, batch: int, capacity: int | None = None) -> ForgettingState:
        empty = torch.empty(batch, self.kv_heads, capacity or 0, self.head_width, **self.like())
        begin = torch.zeros(batch, dtype=torch.int64, device=empty.device)
        totals = empty.new_empty(batch, self.heads, capacity or 0, 1, dtype=torch.float64)
        return ForgettingState(empty, empty.clone(), begin, length=0, packed=False, totals=totals)

    def parallel(self, x, state, starts):
        first, length = state.length, x.shape[1]
        q, k, v = self.project(x, first)
        total = F.logsigmoid(exact(self.forget(x))).transpose(1, 2)[..., None].double().cumsum(2)
        if first:
            total = total + state.totals[:, :, first - 1 : first]
        k, v, totals = (
            append(old, new, first)
            for old, new in ((state.keys, k), (state.values, v), (state.totals, total))
        )
        begin, mask, end = state.begin, None, first + length
        if starts is not None or state.packed:
            begin = begins(starts, begin, first, length)
            mask, begin = packed_mask(begin, end), begin[:, -1]
        state = ForgettingState(k, v, begin, end, state.packed or starts is not None, totals)
        y = forgetting_attention(q, k[:, :, :end], v[:, :, :end], totals[:, :, :end, 0], mask)
        return self.output(y.transpose(1, 2).flatten(2) * self.gate(x).sigmoid()), state
