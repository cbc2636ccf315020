"""Strided attention: half of the heads look at the last few tokens, half at every l-th."""

from __future__ import annotations

import torch

from caselli.errors import UserError
from caselli.mixer.heads import CachedMixer, refuse_bidirectional
from caselli.ops import local_attention, strided_attention


class StridedAttention(CachedMixer):
    r"""The Sparse Transformer's strided attention, in O(T · (l + T / l)).

    .. math:: A^{(1)}_t = \{s : t - l < s \le t\}, \qquad A^{(2)}_t = \{s \le t : (t - s) \bmod l = 0\}

    The first half of the heads attends to A⁽¹⁾, the second to A⁽²⁾: in two layers every token reaches all
    before it. For codes in raster order, with l the width of the grid, the heads look along the row and along
    the column. The state keeps every key and value; a step reads l + T / l of them.

    Arguments:
        width: E.
        stride: l, the width of the window and the distance of the stride; best near √T.
        heads: an even number; by default one for every 64 channels, at least two.
        options: as of `caselli.mixer.heads.ProjectingMixer`; causal only.

    Source: Child et al. 2019, Generating Long Sequences with Sparse Transformers.

    Example:
        >>> mixer = StridedAttention(width=64, stride=4)
        >>> mixer(torch.zeros(2, 9, 64))[0].shape
        torch.Size([2, 9, 64])
    """

    def __init__(self, width: int, *, stride: int = 32, heads: int | None = None, **options) -> None:
        super().__init__(width, heads=heads or 2 * max(1, width // 128), **options)
        if stride < 1 or self.kv_heads % 2:
            raise UserError(
                f"stride {stride}, heads {self.heads}, kv_heads {self.kv_heads} were given",
                "a stride of at least 1 and even numbers of heads were expected",
            )
        refuse_bidirectional(self)
        self.stride = stride

    @classmethod
    def of_state(cls, width, numbers, **options):
        return super().of_state(width, numbers, stride=numbers // width // 4, **options)

    def attend(self, q, k, v, begin):
        near, far = zip(*(x.chunk(2, 1) for x in (q, k, v)), strict=True)
        near = local_attention(*near, self.stride, begin)
        return torch.cat((near, strided_attention(*far, self.stride, begin)), 1)
