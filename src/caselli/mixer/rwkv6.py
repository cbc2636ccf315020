"""RWKV-6 (Finch): a matrix a head, with forgetting and token shift that the token decides."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from caselli.mixer.dense import Dense
from caselli.mixer.parts import split_heads
from caselli.mixer.parts_rwkv import MatrixTimeMixing, depth, left, shares, zigzag
from caselli.ops import exact, gated_linear_attention, token_shift


class RWKV6(MatrixTimeMixing):
    r"""Time mixing of RWKV-6.

    .. math::
        o_t = \big(S_{t-1} + \mathrm{diag}(u)\, k_t v_t^\top\big)^\top r_t, \quad
        S_t = \mathrm{diag}(e^{-e^{w_t}}) S_{t-1} + k_t v_t^\top, \quad
        y_t = W_o\big(\mathrm{GroupNorm}(o_t) \odot \mathrm{silu}(g_t)\big)

    with w, k, v, r and g each from x_t + (x_{t−1} − x_t)(μ + low rank of x), and w of low rank too.

    Arguments:
        width: E.
        heads: N; by default one for every 64 channels.
        shift_rank: rank of the token shift, for each of the five.
        decay_rank: rank of the decay.
        chunk_size: tokens that are compared directly; rounded up to a power of two.

    Source: Peng et al. 2024, Eagle and Finch: RWKV with Matrix-Valued States and Dynamic Recurrence.

    Example:
        >>> y, state = RWKV6(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int | None = None,
        shift_rank: int = 32,
        decay_rank: int = 64,
        chunk_size: int = 64,
    ) -> None:
        super().__init__(width, heads=heads, chunk_size=chunk_size)
        self.share = nn.Parameter(1 - shares(width).data)
        self.shares = nn.Parameter((1 - shares(width).data).repeat(5, 1))
        self.shift_in = nn.Parameter(torch.empty(width, 5, shift_rank).uniform_(-1e-2, 1e-2))
        self.shift_out = nn.Parameter(torch.empty(5, shift_rank, width).uniform_(-1e-2, 1e-2))
        self.decay = nn.Parameter(-6 + 5 * depth(width))
        self.decay_in = nn.Parameter(torch.empty(width, decay_rank).uniform_(-1e-2, 1e-2))
        self.decay_out = nn.Parameter(torch.empty(decay_rank, width).uniform_(-1e-2, 1e-2))
        self.bonus = nn.Parameter(0.5 * (1 - depth(width)) + 0.2 * zigzag(width))
        self.gate = Dense(width, width, bias=False)

    @classmethod
    def of_state(cls, width, numbers, **options):
        return super().of_state(width, numbers, shift_rank=width // 8, decay_rank=width // 4, **options)

    def mix(self, x, state, starts, size):
        w, k, v, r, gate = self._shift(x, token_shift(x, state.token, starts))
        decay = exact(self.decay + (w @ self.decay_in).tanh() @ self.decay_out)
        r, k, v = self.receptance(r), self.key(k), self.value(v)
        r, k, v, decay = (split_heads(part, self.heads) for part in (r, k, v, decay))
        y, memory = gated_linear_attention(
            r,
            k,
            v,
            state.memory,
            log_decay=-decay.exp(),
            bonus=self.bonus.view(self.heads, -1),
            starts=starts,
            chunk_size=size,
        )
        y = self.normalise(y) * F.silu(self.gate(gate))
        return self.output(y), left(x, memory, state)

    def _shift(self, x, before):
        """Five mixes of each token with the one before it; how, the token decides."""
        difference = before - x
        inner = torch.einsum("bte,efr->btfr", x + difference * self.share, self.shift_in).tanh()
        share = self.shares + torch.einsum("btfr,fre->btfe", inner, self.shift_out)
        return (x[:, :, None] + difference[:, :, None] * share).unbind(2)
