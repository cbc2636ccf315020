"""Attention within buckets of similar tokens, found by locality-sensitive hashing."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from caselli.ops.attention import packed_mask
from caselli.private import number_or
from caselli.shapes import Bool, Float, Int, Tensor

BLOCK = 64
"""Tokens of a block of sorted queries."""


def lsh_buckets(
    x: Float[Tensor, "B N T d"], rotations: Float[Tensor, "N R d half"]
) -> Int[Tensor, "B N R T"]:
    r"""The bucket of each vector in each of R rounds.

    .. math:: h(x) = \arg\max\,[x P;\; -x P]

    with P random, `d × buckets/2`: near directions share a bucket with high probability. Computed in float32
    at least.

    Source: Andoni et al. 2015, Practical and Optimal LSH for Angular Distance.

    Example:
        >>> lsh_buckets(torch.tensor([[[[1.0, 0.0], [-1.0, 0.1]]]]), torch.eye(2)[None, None])
        tensor([[[[0, 2]]]])
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        turned = torch.einsum("bntd,nrdh->bnrth", x.detach().to(dtype), rotations.to(dtype))
    return torch.cat((turned, -turned), -1).argmax(-1)


def lsh_mask(
    query_buckets: Int[Tensor, "B N R T"],
    key_buckets: Int[Tensor, "B N R S"],
    begin: Int[Tensor, "#B T"],
    *,
    causal: bool = True,
) -> Bool[Tensor, "B N T S"]:
    """Who attends to whom: the others of a token's buckets, in any round; itself where there is no other."""
    length, end = begin.shape[1], key_buckets.shape[3]
    shared = (query_buckets[..., None] == key_buckets[..., None, :]).any(2)
    itself = torch.eye(end, dtype=torch.bool, device=begin.device)[end - length :]
    others = shared & packed_mask(begin, end, causal=causal) & ~itself
    return others | (itself & ~others.any(-1, keepdim=True))


def lsh_attention(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B N T d"],
    v: Float[Tensor, "B N T v"],
    buckets: Int[Tensor, "B N R T"],
    begin: Int[Tensor, "B T"] | None = None,
    *,
    causal: bool = True,
) -> Float[Tensor, "B N T v"]:
    """Softmax attention under `lsh_mask`, without forming scores between buckets far apart.

    In each round the tokens are sorted by bucket; a block of sorted tokens is compared with the blocks that
    its buckets reach into. Rounds are joined by their sums of exponentials, and a pair that meets in several
    counts once. Time and memory follow the size of the largest bucket, at most `attention`'s times R.

    Arguments:
        q, k, v: queries, keys, values.
        buckets: of each token, R rounds.
        begin: for each token the index at which its packed sequence begins.
        causal: whether a token sees only the past.

    Source: Kitaev et al. 2020, Reformer: The Efficient Transformer.

    Example:
        >>> v = torch.tensor([[[[1.0], [2.0], [3.0]]]])
        >>> buckets = torch.tensor([[[[0, 1, 0]]]])
        >>> lsh_attention(torch.ones(1, 1, 3, 2), torch.ones(1, 1, 3, 2), v, buckets).flatten()
        tensor([1., 2., 1.])
    """
    batch, _, rounds, length = buckets.shape
    if begin is None:
        begin = torch.zeros(batch, length, dtype=torch.int64, device=q.device)
    group = begin[:, None, None] * (buckets.amax() + 1) + buckets
    order = torch.argsort(group, dim=3, stable=True)
    group = group.gather(3, order)
    reach = _Reach.of(group, causal)

    def sort(x: Tensor) -> Tensor:
        index = order[..., None].expand(*order.shape, x.shape[-1])
        return x[:, :, None].expand(-1, -1, rounds, -1, -1).gather(3, index)

    every = buckets.transpose(2, 3)
    scores = reach.queries(sort(q * q.shape[-1] ** -0.5)) @ reach.keys(sort(k)).mT
    scores = scores - _meetings(reach.queries(sort(every)), reach.keys(sort(every))).to(scores).log()
    scores = reach.hide(scores, group)
    total = scores.logsumexp(-1, keepdim=True)
    y = (scores - total).exp() @ reach.keys(sort(v))
    back = order.argsort(3)[..., None]
    total, y = (x.flatten(3, 4)[:, :, :, :length] for x in (total, y))
    total, y = total.gather(3, back), y.gather(3, back.expand(*back.shape[:4], y.shape[-1]))
    return (total.softmax(2) * y).sum(2)


def _meetings(mine: Tensor, theirs: Tensor) -> Tensor:
    """In how many rounds each pair shares a bucket, at least 1: `… q R`, `… k R` → `… q k`."""
    rounds = mine.shape[-1]
    count = sum((mine[..., r, None] == theirs[..., None, :, r]).to(torch.int8) for r in range(rounds))
    return count.clamp_min(1)


class _Reach:
    """Blocks of sorted queries, and the blocks of keys from `back` before to `ahead` after."""

    def __init__(self, size: int, length: int, back: int, ahead: int, causal: bool) -> None:
        self.size, self.length, self.back, self.ahead, self.causal = size, length, back, ahead, causal
        self.blocks = -(-length // size)

    @staticmethod
    def of(group: Tensor, causal: bool) -> _Reach:
        """As far as the farthest bucket: the groups are sorted, so that a block's first token reaches back
        most and its last one ahead most."""
        length = group.shape[-1]
        size = min(BLOCK, length)
        index = torch.arange(length, device=group.device)
        change = F.pad(group.diff(dim=-1) != 0, (1, 0), value=True)
        first = torch.where(change, index, 0).cummax(-1).values
        back = number_or((index // size - first // size).max(), (length - 1) // size)
        ahead = 0 if causal else back
        return _Reach(size, length, back, ahead, causal)

    def queries(self, x: Tensor) -> Tensor:
        """`B N R T d` → `B N R n size d`."""
        return F.pad(x, (0, 0, 0, -self.length % self.size)).unflatten(3, (self.blocks, self.size))

    def keys(self, x: Tensor) -> Tensor:
        """`B N R T d` → `B N R n (back + 1 + ahead)·size d`."""
        x = F.pad(x, (0, 0, self.back * self.size, -self.length % self.size + self.ahead * self.size))
        x = x.unflatten(3, (-1, self.size))
        parts = range(self.back + 1 + self.ahead)
        return torch.cat([x[:, :, :, part : part + self.blocks] for part in parts], 4)

    def hide(self, scores: Tensor, group: Tensor) -> Tensor:
        """−∞ outside of the bucket; for the token itself so little that any other token outweighs it."""
        group = group[..., None] + 1
        same = self.queries(group) == self.keys(group)[..., 0][..., None, :]
        query = torch.arange(self.size, device=scores.device)[:, None] + self.back * self.size
        key = torch.arange(scores.shape[-1], device=scores.device)
        seen = same & (key <= query) if self.causal else same
        scores = scores.masked_fill(~seen, -torch.inf)
        return scores.masked_fill(key == query, -(torch.finfo(scores.dtype).max ** 0.5))
