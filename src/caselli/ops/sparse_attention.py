"""The Sparse Transformer's attention: a window, every l-th token, or the own block and summaries before it.

Each pattern has its mask, which is its definition, and a function that forms no scores outside of it. The
queries are the last T of S tokens. `begin` (`B T`) is the index of the key at which a query's sequence begins
where several are packed in one row; none means that all begin at 0.

Source: Child et al. 2019, Generating Long Sequences with Sparse Transformers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from caselli.ops.attention import attention, block_sparse_attention, in_blocks, packed_mask
from caselli.shapes import Bool, Float, Int, Tensor

PIECE = 512
"""Queries whose mask is formed at a time where sequences of fixed attention are packed."""


def _distance(begin: Tensor, end: int) -> Tensor:
    """Query's index less key's, `T S`."""
    index = torch.arange(end, device=begin.device)
    return index[end - begin.shape[1] :, None] - index


def local_mask(
    begin: Int[Tensor, "B T"], end: int, window: int, *, causal: bool = True
) -> Bool[Tensor, "B 1 T S"]:
    """True where 0 ≤ i − j < window, or |i − j| < window if not causal, within one sequence."""
    near = _distance(begin, end).abs() < window
    return packed_mask(begin, end, causal=causal) & near


def strided_mask(begin: Int[Tensor, "B T"], end: int, stride: int) -> Bool[Tensor, "B 1 T S"]:
    """True where j ≤ i and i − j is a multiple of the stride, within one sequence."""
    return packed_mask(begin, end) & (_distance(begin, end) % stride == 0)


def fixed_mask(
    begin: Int[Tensor, "B T"], end: int, block: int, columns: Int[Tensor, "N c"]
) -> Bool[Tensor, "B N T S"]:
    """True where j ≤ i lies in i's block, or in its own block's summary columns, within one sequence.

    Blocks are counted from the beginning of the sequence; `columns` are each head's places in a block.
    """
    index = torch.arange(end, device=begin.device)
    query = index[end - begin.shape[1] :] - begin
    key = index - begin[:, :, None]
    own = key // block == query[:, :, None] // block
    is_summary = torch.zeros(len(columns), block, dtype=torch.bool, device=begin.device)
    is_summary = is_summary.scatter(1, columns, True)
    summary = is_summary[:, key % block].transpose(0, 1)
    return packed_mask(begin, end) & (own[:, None] | summary)


def local_attention(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B M S d"],
    v: Float[Tensor, "B M S v"],
    window: int,
    begin: Int[Tensor, "B T"] | None = None,
    *,
    causal: bool = True,
) -> Float[Tensor, "B N T v"]:
    """Softmax attention of each token to the `window` last ones, itself included, in O(T · window).

    Arguments:
        q, k, v: queries, keys, values; S ≥ T, and S = T if not causal.
        window: w; a token sees i − w < j ≤ i, and up to j < i + w if not causal.
        begin: where packed sequences begin; negative where it is further back than the keys.

    Example:
        >>> v = torch.arange(4.0).view(1, 1, 4, 1)
        >>> local_attention(torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2), v, window=2).flatten()
        tensor([0.0000, 0.5000, 1.5000, 2.5000])
    """
    length, past = q.shape[2], k.shape[2] - q.shape[2]
    if begin is None:
        begin = torch.zeros(1, length, dtype=torch.int64, device=q.device)
    if length <= window:
        first = max(0, past - window + 1)
        mask = local_mask(begin - first, k.shape[2] - first, window, causal=causal)
        return attention(q, k[:, :, first:], v[:, :, first:], mask)
    front, back = window - past, -length % window + (0 if causal else window)
    mask = _window_mask(begin, window, front, back, causal)
    q = in_blocks(q, window)
    k, v = (_with_neighbours(F.pad(x, (0, 0, front, back)), window, q.shape[2]) for x in (k, v))
    y = _attend_apart(*(x.permute(2, 0, 1, 3, 4) for x in (q, k, v)), mask)
    return y.permute(1, 2, 0, 3, 4).flatten(2, 3)[:, :, :length]


def _attend_apart(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention within each of P parts: q `P B N n d`, k and v `P B M m d`, mask `P 1 n m` or `P B n m`."""
    if mask is not None and mask.shape[1] > 1:
        mask = mask.repeat_interleave(q.shape[2], 1)
    y = attention(q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2), mask, causal=mask is None)
    return y.unflatten(1, q.shape[1:3])


def _with_neighbours(x: Tensor, window: int, blocks: int) -> Tensor:
    """`B M S d` → `B M n parts·window d`: each block of keys with its neighbours."""
    x = x.unflatten(2, (-1, window))
    parts = x.shape[2] - blocks + 1
    return torch.cat([x[:, :, part : part + blocks] for part in range(parts)], 3)


def _window_mask(begin: Tensor, window: int, front: int, back: int, causal: bool) -> Tensor:
    """`n B window parts·window`: near enough, there, and of the same sequence.

    The keys' axis is the one after padding: `front` is added to every index, and query 0 is at `window`.
    """
    filled = -begin.shape[1] % window
    blocks = (begin.shape[1] + filled) // window
    key = torch.arange(window * (blocks + (1 if causal else 2)), device=begin.device)
    query = key[window : window * (blocks + 1)].view(blocks, 1, window, 1)
    key = _with_neighbours(key.view(1, 1, -1, 1), window, blocks).view(blocks, 1, 1, -1)
    near = (query - key).abs() < window
    if causal:
        low = F.pad((begin.clamp_min(0) + front).clamp_min(0), (0, filled))
        return near & (key <= query) & (key >= low.view(-1, blocks, window, 1).transpose(0, 1))
    mine = F.pad(begin, (0, filled), value=-1).view(-1, blocks, window, 1)
    theirs = F.pad(begin, (front, back), value=-1)[:, None, :, None]
    same = mine == _with_neighbours(theirs, window, blocks).view(len(begin), blocks, 1, -1)
    return near & same.transpose(0, 1)


def strided_attention(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B M S d"],
    v: Float[Tensor, "B M S v"],
    stride: int,
    begin: Int[Tensor, "B T"] | None = None,
) -> Float[Tensor, "B N T v"]:
    """Causal softmax attention of each token to itself and every `stride`-th before it, in O(T² / stride).

    The tokens of one remainder are a dense causal problem of their own.

    Arguments:
        q, k, v: queries, keys, values; S ≥ T.
        stride: l; a token sees j ≤ i with i − j a multiple of l.
        begin: where packed sequences begin.

    Example:
        >>> v = torch.arange(4.0).view(1, 1, 4, 1)
        >>> strided_attention(torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2), v, stride=2).flatten()
        tensor([0., 1., 1., 2.])
    """
    length, past = q.shape[2], k.shape[2] - q.shape[2]
    if length == 1:
        k, v = (x[:, :, past % stride :: stride] for x in (k, v))
        index = torch.arange(past % stride, past + 1, stride, device=q.device)
        return attention(q, k, v, None if begin is None else (index >= begin)[:, None, None])
    mask, front = None, 0
    if past or begin is not None:
        front = -past % stride  # so that the first query has remainder 0
        mask = _remainder_mask(begin, length, past, stride, q.device)
    q, k, v = (_by_remainder(x, stride, at) for x, at in ((q, 0), (k, front), (v, front)))
    y = _attend_apart(q, k, v, mask)
    return y.permute(1, 2, 3, 0, 4).flatten(2, 3)[:, :, :length]


def _by_remainder(x: Tensor, stride: int, front: int) -> Tensor:
    """`B M S d` → `stride B M n d`."""
    return in_blocks(F.pad(x, (0, 0, front, 0)), stride).permute(3, 0, 1, 2, 4)


def _remainder_mask(
    begin: Tensor | None, length: int, past: int, stride: int, device: torch.device
) -> Tensor:
    """`stride B n m`, or one for the whole batch where nothing is packed."""
    rows, old = -(-length // stride), -(-past // stride)
    if begin is None:
        begin = torch.zeros(1, length, dtype=torch.int64, device=device)
    low = F.pad(begin, (0, rows * stride - length)).view(-1, rows, stride).permute(2, 0, 1)[..., None]
    remainder = torch.arange(stride, device=device)[:, None, None, None]
    row = torch.arange(rows + old, device=device)
    index = row * stride + remainder - (-past % stride)
    return (row <= row[old:, None]) & (index >= low)


def fixed_attention(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B N S d"],
    v: Float[Tensor, "B N S v"],
    block: int,
    columns: Int[Tensor, "N c"],
    begin: Int[Tensor, "B T"] | None = None,
) -> Float[Tensor, "B N T v"]:
    """Causal softmax attention to the own block and to the summary columns of all blocks before it.

    In O(T · (block + c · T / block)). Where sequences are packed, their blocks are not aligned: then what is
    empty of the mask is found and skipped.

    Arguments:
        q, k, v: queries, keys, values; S ≥ T.
        block: l; tokens ⌊i/l⌋ = ⌊j/l⌋ share a block.
        columns: each head's summary columns, places 0 … l − 1 in a block.
        begin: where packed sequences begin; blocks are counted from there.

    Example:
        >>> v = torch.arange(5.0).view(1, 1, 5, 1)
        >>> q = k = torch.zeros(1, 1, 5, 2)
        >>> fixed_attention(q, k, v, block=2, columns=torch.tensor([[1]])).flatten()
        tensor([0.0000, 0.5000, 1.5000, 2.0000, 2.6667])
    """
    if begin is not None:
        return _fixed_packed(q, k, v, block, columns, begin)
    length, past = q.shape[2], k.shape[2] - q.shape[2]
    phase = past % block
    if phase + length > block:
        q = F.pad(q, (0, 0, phase, 0))
        q, skipped = in_blocks(q, block), phase
    else:
        q, skipped = q[:, :, None], 0
    blocks, rows = q.shape[2:4]
    before = (past - phase) // block
    k_own, v_own = (in_blocks(x[:, :, past - phase :], block) for x in (k, v))
    k_sum, v_sum = (_summaries(x, before + blocks - 1, block, columns) for x in (k, v))

    place = torch.arange(block, device=q.device)
    ahead = place > torch.arange(rows, device=q.device)[:, None] + (phase - skipped)
    number = torch.arange(before + blocks - 1, device=q.device).repeat(columns.shape[1])
    unseen = number >= before + torch.arange(blocks, device=q.device)[:, None, None]
    q = q * q.shape[-1] ** -0.5
    own = (q @ k_own.mT).masked_fill(ahead, -torch.inf)
    far = (q @ k_sum.mT[:, :, None]).masked_fill(unseen, -torch.inf)
    weights = torch.cat((far, own), -1).softmax(-1)
    far, own = weights.split((far.shape[-1], block), -1)
    y = far @ v_sum[:, :, None] + own @ v_own
    return y.flatten(2, 3)[:, :, skipped : skipped + length]


def _fixed_packed(q: Tensor, k: Tensor, v: Tensor, block: int, columns: Tensor, begin: Tensor) -> Tensor:
    """In pieces of the queries, so that the mask stays small."""
    end, outputs = k.shape[2] - q.shape[2], []
    for piece, first in zip(q.split(PIECE, 2), begin.split(PIECE, 1), strict=True):
        end += piece.shape[2]
        mask = fixed_mask(first, end, block, columns)
        outputs.append(block_sparse_attention(piece, k[:, :, :end], v[:, :, :end], mask, block_size=block))
    return torch.cat(outputs, 2)


def _summaries(x: Tensor, blocks: int, block: int, columns: Tensor) -> Tensor:
    """Each head's summary columns of the first blocks, `B N c·n d`."""
    batch, heads, _, width = x.shape
    x = x[:, :, : blocks * block].unflatten(2, (blocks, block)).transpose(2, 3).flatten(1, 2)
    row = (torch.arange(heads, device=x.device)[:, None] * block + columns).flatten()
    return x.index_select(1, row).reshape(batch, heads, -1, width)
