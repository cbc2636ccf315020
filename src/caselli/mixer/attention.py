"""Softmax attention: every token looks at all before it."""

from __future__ import annotations

import dataclasses

from caselli.mixer.full import FullAttention
from caselli.mixer.heads import AttentionState
from caselli.ops import attention, packed_mask

__all__ = ["Attention", "AttentionState"]


class Attention(FullAttention):
    r"""Multi-head and grouped-query softmax attention with rotary positions.

    .. math:: y_t = W_o \sum_{s \le t} \mathrm{softmax}_s\big(q_t \cdot k_s / \sqrt d\big)\, v_s

    The state keeps every key and value: it grows with the tokens seen.

    Arguments: `width` and those of `caselli.mixer.full.FullAttention`.

    Sources: Vaswani et al. 2017, Attention Is All You Need; Su et al. 2021, RoFormer; Ainslie et al. 2023,
    GQA: Training Generalized Multi-Query Transformer Models.

    Example:
        >>> import torch
        >>> mixer = Attention(width=64, heads=4)
        >>> y, state = mixer(torch.zeros(2, 5, 64))
        >>> y.shape, state.length
        (torch.Size([2, 5, 64]), 5)
    """

    def cut(self, before, after, count):
        return dataclasses.replace(after, length=before.length + count)

    def attend(self, q, k, v, begin):
        if begin is not None:
            return attention(q, k, v, packed_mask(begin, k.shape[2], causal=self.causal))
        return attention(q, k, v, causal=self.causal)
