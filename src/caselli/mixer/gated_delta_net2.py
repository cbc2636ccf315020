"""Gated DeltaNet-2: what is erased and what is written are decided apart, channel by channel."""

from __future__ import annotations

from torch import nn

from caselli.mixer.dense import Dense
from caselli.mixer.parts import split_heads
from caselli.mixer.parts_delta import ChannelDecay, DeltaMixer
from caselli.ops import channel_delta_rule


class GatedDeltaNet2(DeltaMixer):
    r"""The gated delta rule with an erase gate on the keys and a write gate on the values.

    .. math::
        S_t = \big(I - k_t (b_t \odot k_t)^\top\big)\, \mathrm{diag}(e^{g_t})\, S_{t-1}
        + k_t (w_t \odot v_t)^\top, \quad
        y_t = W_o\big(\mathrm{RMSNorm}(S_t^\top q_t / \sqrt d) \odot \sigma(W_2 W_1 x_t)\big)

    with q, k and v through a short convolution, and q and k of unit length. With b = w = β it is Kimi delta
    attention.

    Arguments:
        width: E.
        heads: N; by default one for every 64 channels.
        value_factor: channels of all values over E.
        rank: rows of the first of two projections to decays, and to gates; by default a head's values.
        bound: the least log decay, e.g. −5; 0 for a softplus without one.
        most: the largest b, up to 2; above 1 the memory can turn over what it holds (negative eigenvalues).
        convolution: tokens that the convolution sees.
        chunk_size: tokens in one triangular system; rounded up to a power of two.

    Source: Hatamizadeh, Choi and Kautz 2026, Gated DeltaNet-2: Decoupling Erase and Write in Linear
    Attention.

    Example:
        >>> import torch
        >>> y, state = GatedDeltaNet2(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int | None = None,
        value_factor: int = 1,
        rank: int | None = None,
        bound: float = 0.0,
        most: float = 1.0,
        convolution: int = 4,
        chunk_size: int = 64,
    ) -> None:
        super().__init__(
            width,
            heads=heads,
            value_factor=value_factor,
            writes=1,
            convolution=convolution,
            chunk_size=chunk_size,
        )
        rank = rank or self.values // self.heads
        self.most = most
        self.erase = Dense(width, width, bias=False)
        self.write = Dense(width, self.values, bias=False)
        self.decay = ChannelDecay(width, self.heads, rank, bound)
        self.gates = nn.Sequential(Dense(width, rank, bias=False), Dense(rank, self.values))

    def update(self, x, q, k, v, memory, **options):
        log_decay, k = self.decay(x), k[:, :, 0]
        erase = self.most * split_heads(self.erase(x), self.heads).sigmoid()
        write = split_heads(self.write(x), self.heads).sigmoid()
        return channel_delta_rule(
            q,
            k,
            write * v[:, :, 0],
            memory,
            reads=log_decay.exp() * erase * k,
            log_decay=log_decay,
            **options,
        )

    def gate(self, x):
        return self.gates(x).sigmoid()
