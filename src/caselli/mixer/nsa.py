"""Native sparse attention: compressed, chosen and near tokens, weighed by gates."""

from __future__ import annotations

import torch

from caselli.errors import UserError
from caselli.mixer.dense import Dense
from caselli.mixer.heads import CachedMixer, refuse_bidirectional
from caselli.ops import native_sparse_attention


class NativeSparseAttention(CachedMixer):
    r"""Attention to the means of blocks, to chosen blocks, and to a window.

    .. math:: y_t = W_o \sum_i \sigma(w_i \cdot x_t)\, a_i(q_t, k, v)

    with one w for each head and each of the three attentions `a` of
    `caselli.ops.native_sparse_attention`. The state keeps every key and value.

    Arguments:
        width: E.
        block: tokens of a block.
        blocks: how many are chosen, the first, the own one and the one before among them.
        window: latest tokens that a query sees, itself included.
        options: further ones of `caselli.mixer.heads.ProjectingMixer`.

    Source: Yuan et al. 2025, Native Sparse Attention: Hardware-Aligned and Natively Trainable Sparse
    Attention.

    Example:
        >>> y, state = NativeSparseAttention(width=64, block=2)(torch.zeros(2, 5, 64))
        >>> y.shape, state.length
        (torch.Size([2, 5, 64]), 5)
    """

    angle_dtype = torch.float64

    def __init__(self, width: int, *, block: int = 16, blocks: int = 6, window: int = 32, **options) -> None:
        super().__init__(width, **options)
        if min(block, blocks, window) < 1:
            raise UserError(
                f"block {block}, blocks {blocks}, window {window} were given", "1 or more was expected"
            )
        refuse_bidirectional(self)
        self.block, self.blocks, self.near = block, blocks, window
        self.gates = Dense(width, 3 * self.heads)

    @classmethod
    def of_state(cls, width, numbers, **options):
        size = numbers // width // 4
        return super().of_state(width, numbers, block=size, window=2 * size, **options)

    def project(self, x, first, begin=None):
        """A query carries its three gates behind it."""
        q, k, v = super().project(x, first, begin)
        gates = self.gates(x).sigmoid().unflatten(2, (self.heads, 3)).transpose(1, 2)
        return torch.cat((q, gates), -1), k, v

    def attend(self, q, k, v, begin):
        q, gates = q.split((self.head_width, 3), -1)
        sizes = {"size": self.block, "count": self.blocks, "window": self.near}
        return native_sparse_attention(q, k, v, gates, begin, **sizes)
