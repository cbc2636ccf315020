"""Kimi delta attention: the gated delta rule with a decay for every channel of the keys."""

from __future__ import annotations

from torch import nn

from caselli.mixer.dense import Dense
from caselli.mixer.parts_delta import ChannelDecay, DeltaMixer
from caselli.ops import channel_delta_rule


class KimiDeltaAttention(DeltaMixer):
    r"""Kimi delta attention (KDA).

    .. math::
        \tilde S_t = \mathrm{diag}(e^{g_t})\, S_{t-1}, \quad
        S_t = \tilde S_t + \beta_t k_t (v_t - \tilde S_t^\top k_t)^\top, \quad
        y_t = W_o\big(\mathrm{RMSNorm}(S_t^\top q_t / \sqrt d) \odot \sigma(W_2 W_1 x_t)\big)

    with q, k and v through a short convolution, and q and k of unit length.

    Arguments:
        width: E.
        heads: N; by default one for every 64 channels.
        value_factor: channels of all values over E.
        rank: rows of the first of two projections to decays, and to gates; by default a head's values.
        bound: the least log decay, e.g. −5; 0 for a softplus without one.
        most: the largest β, up to 2; above 1 the memory can turn over what it holds (negative eigenvalues).
        convolution: tokens that the convolution sees.
        chunk_size: tokens in one triangular system; rounded up to a power of two.

    Source: Kimi Team 2025, Kimi Linear: An Expressive, Efficient Attention Architecture.

    Example:
        >>> import torch
        >>> y, state = KimiDeltaAttention(width=64)(torch.zeros(2, 5, 64))
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
        self.beta = Dense(width, self.heads, bias=False)
        self.decay = ChannelDecay(width, self.heads, rank, bound)
        self.gates = nn.Sequential(Dense(width, rank, bias=False), Dense(rank, self.values))

    def update(self, x, q, k, v, memory, **options):
        log_decay, beta = self.decay(x), self.most * self.beta(x).sigmoid()[..., None]
        reads = beta * log_decay.exp() * k[:, :, 0]
        return channel_delta_rule(
            q, k[:, :, 0], beta * v[:, :, 0], memory, reads=reads, log_decay=log_decay, **options
        )

    def gate(self, x):
        return self.gates(x).sigmoid()
