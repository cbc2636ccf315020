"""Kimi delta attention: the gated delta rule with a decay for every channel of the keys."""

from __future__ import annotations

from caselli.mixer.dense import Dense
from caselli.mixer.parts_delta import ChannelMixer
from caselli.ops import channel_delta_rule


class KimiDeltaAttention(ChannelMixer):
    r"""Kimi delta attention (KDA).

    .. math::
        \tilde S_t = \mathrm{diag}(e^{g_t})\, S_{t-1}, \quad
        S_t = \tilde S_t + \beta_t k_t (v_t - \tilde S_t^\top k_t)^\top, \quad
        y_t = W_o\big(\mathrm{RMSNorm}(S_t^\top q_t / \sqrt d) \odot \sigma(W_2 W_1 x_t)\big)

    with q, k and v through a short convolution, and q and k of unit length.

    Arguments: `width` and those of `caselli.mixer.parts_delta.ChannelMixer`, whose `most` is of β.

    Source: Kimi Team 2025, Kimi Linear: An Expressive, Efficient Attention Architecture.

    Example:
        >>> import torch
        >>> y, state = KimiDeltaAttention(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(self, width: int, **options) -> None:
        super().__init__(width, **options)
        self.beta = Dense(width, self.heads, bias=False)

    def update(self, x, q, k, v, memory, **options):
        log_decay, beta = self.decay(x), self.most * self.beta(x).sigmoid()[..., None]
        reads = beta * log_decay.exp() * k[:, :, 0]
        return channel_delta_rule(
            q, k[:, :, 0], beta * v[:, :, 0], memory, reads=reads, log_decay=log_decay, **options
        )
