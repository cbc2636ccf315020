"""Fixed attention: every token looks at its own block and at the summaries of all before it."""

from __future__ import annotations

import math

import torch

from caselli.errors import UserError
from caselli.mixer.heads import CachedMixer, refuse_bidirectional
from caselli.ops import fixed_attention


class FixedAttention(CachedMixer):
    r"""The Sparse Transformer's fixed attention, in O(T · (l + c T / l)).

    .. math:: A_t = \{s \le t : \lfloor s/l \rfloor = \lfloor t/l \rfloor\} \cup
        \{s \le t : s \bmod l \in \text{summary}_h\}

    The summary of a block is c of its last columns; head h takes the h-th group of c from the end, and the
    groups recur where there are more heads. The state keeps every key and value; a step reads l + c T / l.

    Arguments:
        width: E.
        block: l, tokens of a block; best near √T.
        summary: c, columns of a block that later blocks see, a divisor of `block`.
        options: as of `caselli.mixer.heads.ProjectingMixer`; causal only.

    Source: Child et al. 2019, Generating Long Sequences with Sparse Transformers.

    Example:
        >>> mixer = FixedAttention(width=64, heads=2, block=8, summary=2)
        >>> mixer.columns
        tensor([[6, 7],
                [4, 5]])
    """

    def __init__(self, width: int, *, block: int = 32, summary: int = 4, **options) -> None:
        super().__init__(width, **options)
        if min(summary, block) < 1 or block % summary:
            raise UserError(
                f"block {block}, summary {summary} were given",
                "a block that is a multiple of summary was expected",
            )
        refuse_bidirectional(self)
        self.block = block
        group = torch.arange(self.heads)[:, None] % (block // summary)
        self.register_buffer(
            "columns", block - (group + 1) * summary + torch.arange(summary), persistent=False
        )

    @classmethod
    def of_state(cls, width, numbers, **options):
        block = numbers // width // 4
        return super().of_state(width, numbers, block=block, summary=math.gcd(4, block), **options)

    def attend(self, q, k, v, begin):
        k, v = self.repeated(k, v)
        return fixed_attention(q, k, v, self.block, self.columns, begin)
