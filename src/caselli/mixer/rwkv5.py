"""RWKV-5 (Eagle): a matrix a head, with a fixed rate of forgetting in every channel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from caselli.mixer.dense import Dense
from caselli.mixer.parts import split_heads
from caselli.mixer.parts_rwkv import MatrixTimeMixing, depth, left, shares, zigzag
from caselli.ops import exact, gated_linear_attention, token_shift


class RWKV5(MatrixTimeMixing):
    r"""Time mixing of RWKV-5.

    .. math::
        o_t = \big(S_{t-1} + \mathrm{diag}(u)\, k_t v_t^\top\big)^\top r_t, \quad
        S_t = \mathrm{diag}(e^{-e^w}) S_{t-1} + k_t v_t^\top, \quad
        y_t = W_o\big(\mathrm{GroupNorm}(o_t) \odot \mathrm{silu}(g_t)\big)

    with r, k, v and g from x_t and x_{t−1} mixed channel by channel.

    Arguments:
        width: E.
        heads: N; by default one for every 64 channels.
        chunk_size: tokens that are compared directly; rounded up to a power of two.

    Source: Peng et al. 2024, Eagle and Finch: RWKV with Matrix-Valued States and Dynamic Recurrence.

    Example:
        >>> y, state = RWKV5(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(self, width: int, *, heads: int | None = None, chunk_size: int = 64) -> None:
        super().__init__(width, heads=heads, chunk_size=chunk_size)
        self.decay = nn.Parameter(-6 + 5 * depth(width))
        self.bonus = nn.Parameter(0.5 * (1 - depth(width)) + 0.2 * zigzag(width))
        self.share_key, self.share_value = shares(width), shares(width)
        self.share_receptance, self.share_gate = shares(width, 0.5), shares(width, 0.5)
        self.gate = Dense(width, width, bias=False)

    def mix(self, x, state, starts, size):
        before = token_shift(x, state.token, starts)
        parts = (
            (self.receptance, self.share_receptance),
            (self.key, self.share_key),
            (self.value, self.share_value),
        )
        r, k, v = (split_heads(part(torch.lerp(before, x, share)), self.heads) for part, share in parts)
        gate = self.gate(torch.lerp(before, x, self.share_gate))
        y, memory = gated_linear_attention(
            r,
            k,
            v,
            state.memory,
            log_decay=-exact(self.decay).exp().view(self.heads, -1).expand(*r.shape),
            bonus=self.bonus.view(self.heads, -1),
            starts=starts,
            chunk_size=size,
        )
        y = self.normalise(y) * F.silu(gate)
        return self.output(y), left(x, memory, state)
