"""Gated DeltaNet-2: what is erased and what is written are decided apart, channel by channel."""

from __future__ import annotations

from caselli.mixer.dense import Dense
from caselli.mixer.parts import split_heads
from caselli.mixer.parts_delta import ChannelMixer
from caselli.ops import channel_delta_rule


class GatedDeltaNet2(ChannelMixer):
    r"""The gated delta rule with an erase gate on the keys and a write gate on the values.

    .. math::
        S_t = \big(I - k_t (b_t \odot k_t)^\top\big)\, \mathrm{diag}(e^{g_t})\, S_{t-1}
        + k_t (w_t \odot v_t)^\top, \quad
        y_t = W_o\big(\mathrm{RMSNorm}(S_t^\top q_t / \sqrt d) \odot \sigma(W_2 W_1 x_t)\big)

    with q, k and v through a short convolution, and q and k of unit length. With b = w = β it is Kimi delta
    attention.

    Arguments: `width` and those of `caselli.mixer.parts_delta.ChannelMixer`, whose `most` is of b.

    Source: Hatamizadeh, Choi and Kautz 2026, Gated DeltaNet-2: Decoupling Erase and Write in Linear
    Attention.

    Example:
        >>> import torch
        >>> y, state = GatedDeltaNet2(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(self, width: int, **options) -> None:
        super().__init__(width, **options)
        self.erase = Dense(width, width, bias=False)
        self.write = Dense(width, self.values, bias=False)

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
