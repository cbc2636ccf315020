"""MoBA: softmax attention to the blocks of tokens that a query chooses."""

from __future__ import annotations

import torch

from caselli.errors import UserError
from caselli.mixer.heads import CachedMixer, refuse_bidirectional
from caselli.ops import mixture_of_block_attention


class MoBA(CachedMixer):
    r"""Mixture of block attention.

    .. math:: y_t = W_o \sum_{s \in B_t} \mathrm{softmax}_s\big(q_t \cdot k_s / \sqrt d\big)\, v_s

    with B_t the tokens of the query's own block up to itself, and of the earlier blocks with the largest
    q_t · mean(k). The state keeps every key and value.

    Arguments:
        width: E.
        block: tokens of a block.
        blocks: how many a query sees, its own included.
        options: further ones of `caselli.mixer.heads.ProjectingMixer`.

    Source: Lu et al. 2025, MoBA: Mixture of Block Attention for Long-Context LLMs.

    Example:
        >>> y, state = MoBA(width=64, block=2)(torch.zeros(2, 5, 64))
        >>> y.shape, state.length
        (torch.Size([2, 5, 64]), 5)
    """

    angle_dtype = torch.float64

    def __init__(self, width: int, *, block: int = 32, blocks: int = 4, **options) -> None:
        super().__init__(width, **options)
        if min(block, blocks) < 1:
            raise UserError(f"block {block}, blocks {blocks} were given", "1 or more was expected")
        refuse_bidirectional(self)
        self.block, self.blocks = block, blocks

    @classmethod
    def of_state(cls, width, numbers, **options):
        return super().of_state(width, numbers, block=numbers // width // 4, **options)

    def attend(self, q, k, v, begin):
        return mixture_of_block_attention(q, k, v, begin, size=self.block, count=self.blocks)
