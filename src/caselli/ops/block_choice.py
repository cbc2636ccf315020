"""Softmax attention to blocks of keys that each query chooses by their mean."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from caselli.ops.chosen_blocks import chosen_block_attention
from caselli.ops.sparse_attention import local_attention
from caselli.shapes import Bool, Float, Int, Tensor

LONG = 2048
"""Products T · S over the tokens that a query sees, above which gathering them is faster (on a CPU)."""
PIECE = 512
"""Queries whose scores are formed at a time where they are not gathered."""


def token_blocks(
    length: int, end: int, size: int, begin: Int[Tensor, "B T"] | None, device: torch.device
) -> tuple[Int[Tensor, "#B T S"], Int[Tensor, "#B T"]]:
    """The block of each key as each query counts them, −1 before its sequence; and the query's own position.

    Arguments:
        length, end: T queries, the last ones of S keys.
        size: tokens of a block.
        begin: for each query the index of the key at which its sequence begins, and its first block.

    Example:
        >>> token_blocks(1, 3, 2, torch.tensor([[1]]), torch.device("cpu"))
        (tensor([[[-1,  0,  0]]]), tensor([[1]]))
    """
    key = torch.arange(end, device=device)
    query = key[None, end - length :]
    if begin is None:
        return (key // size).expand(1, length, end), query
    return (key - begin[..., None]).div(size, rounding_mode="floor").clamp(min=-1), query - begin


def block_means(
    scores: Float[Tensor, "B N T S"], blocks: Int[Tensor, "#B T S"], size: int
) -> Float[Tensor, "B N T n"]:
    """Sums over the tokens of each block over the size of a block: the scores of the mean keys of whole ones.

    Example:
        >>> block_means(torch.tensor([1.0, 3.0, 5.0]).view(1, 1, 1, 3), torch.tensor([[[0, 0, 1]]]), 2)
        tensor([[[[2.0000, 2.5000]]]])
    """
    count = -(-scores.shape[-1] // size)
    if blocks.stride(-2) == 0:  # the same for every query
        padded = F.pad(scores, (0, count * size - scores.shape[-1]))
        return padded.unflatten(-1, (count, size)).mean(-1)
    inside = scores.masked_fill(blocks[:, None] < 0, 0)
    index = blocks.clamp(min=0)[:, None].expand_as(scores)
    return scores.new_zeros(*scores.shape[:-1], count).scatter_add(-1, index, inside) / size


def of_tokens(x: Tensor, blocks: Int[Tensor, "#B T S"], size: int) -> Tensor:
    """`B N T n` → `B N T S`: what holds for a block of `size`, for each of its tokens."""
    if blocks.stride(-2) == 0:
        return x.repeat_interleave(size, -1)[..., : blocks.shape[-1]]
    index = blocks.clamp(min=0)[:, None].expand(len(x), x.shape[1], *blocks.shape[1:])
    return x.gather(-1, index)


def best_blocks(scores: Float[Tensor, "*A n"], count: int) -> Bool[Tensor, "*A n"]:
    """True for the `count` largest, as far as they are above −∞.

    Example:
        >>> best_blocks(torch.tensor([1.0, 3.0, -torch.inf]), 1)
        tensor([False,  True, False])
    """
    chosen = scores.topk(min(count, scores.shape[-1]), -1).indices
    marks = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, chosen, True)
    return marks & (scores > -torch.inf)


def best_numbers(scores: Float[Tensor, "*A n"], count: int) -> Int[Tensor, "*A c"]:
    """Numbers of the `count` largest, −1 for those that are −∞.

    Example:
        >>> best_numbers(torch.tensor([1.0, 3.0, -torch.inf]), 3)
        tensor([ 1,  0, -1])
    """
    best = scores.topk(min(count, scores.shape[-1]), -1)
    return best.indices.masked_fill(best.values == -torch.inf, -1)


def whole_blocks(x: Float[Tensor, "B N S d"], size: int) -> Float[Tensor, "B N n size d"]:
    """The tokens of all complete blocks.

    Example:
        >>> whole_blocks(torch.ones(1, 1, 5, 3), 2).shape
        torch.Size([1, 1, 2, 2, 3])
    """
    return x[:, :, : x.shape[2] // size * size].unflatten(2, (-1, size))


def masked_softmax(scores: Float[Tensor, "*A S"], mask: Bool[Tensor, "*_ S"]) -> Float[Tensor, "*A S"]:
    """Softmax over what the mask leaves; zeros where it leaves nothing.

    Example:
        >>> masked_softmax(torch.zeros(2), torch.tensor([False, False]))
        tensor([0., 0.])
    """
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(-1).masked_fill(~mask, 0)


def mixture_of_block_attention_definition(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B N S d"],
    v: Float[Tensor, "B N S v"],
    begin: Int[Tensor, "B T"] | None,
    *,
    size: int,
    count: int,
) -> Float[Tensor, "B N T v"]:
    """`mixture_of_block_attention` by a mask over all scores."""
    blocks, position = token_blocks(q.shape[2], k.shape[2], size, begin, q.device)
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    key = torch.arange(k.shape[2], device=q.device)
    causal = (key <= key[-q.shape[2] :, None]) & (blocks >= 0)
    own = blocks == (position // size)[..., None]
    mask = causal & own
    if count > 1:
        means = block_means(scores.detach(), blocks, size)
        earlier = torch.arange(means.shape[-1], device=q.device) < (position // size)[:, None, :, None]
        chosen = best_blocks(means.masked_fill(~earlier, -torch.inf), count - 1)
        mask = mask[:, None] | (of_tokens(chosen, blocks, size) & causal[:, None])
    else:
        mask = mask[:, None]
    return masked_softmax(scores, mask) @ v


def mixture_of_block_attention(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B M S d"],
    v: Float[Tensor, "B M S v"],
    begin: Int[Tensor, "B T"] | None = None,
    *,
    size: int,
    count: int,
) -> Float[Tensor, "B N T v"]:
    r"""Attention to a query's own block and to the earlier ones whose mean keys it likes best (MoBA).

    .. math:: y_t = \sum_{s \in B_t} \mathrm{softmax}_s\big(q_t \cdot k_s / \sqrt d\big)\, v_s

    with B_t the tokens up to t of its own block, and those of the count − 1 earlier blocks with the largest
    q_t · mean(k). No gradient goes through the choice.

    Arguments:
        q: queries of N heads, the last T of the S tokens.
        k, v: keys and values of M heads, M a divisor of N.
        begin: for each query the index of the key at which its sequence, and its first block, begins.
        size: tokens of a block.
        count: blocks, the own one included.

    Source: Lu et al. 2025, MoBA: Mixture of Block Attention for Long-Context LLMs.

    Example:
        >>> x = torch.randn(1, 2, 6, 4)
        >>> mixture_of_block_attention(x, x, x, size=2, count=2).shape
        torch.Size([1, 2, 6, 4])
    """
    k, v = (x.to(q.dtype).repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    if begin is not None or count == 1 or _is_short(q, k, size * count):
        return _in_pieces(mixture_of_block_attention_definition, (q,), k, v, begin, size=size, count=count)
    means = whole_blocks(k.detach(), size).mean(3)
    likes = q.detach() @ means.mT
    own = torch.arange(k.shape[2] - q.shape[2], k.shape[2], device=q.device)[:, None] // size
    likes = likes.masked_fill(torch.arange(means.shape[2], device=q.device) >= own, -torch.inf)
    return chosen_block_attention(q, k, v, best_numbers(likes, count - 1), size=size)


def native_sparse_attention_definition(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B N S d"],
    v: Float[Tensor, "B N S v"],
    gates: Float[Tensor, "B N T 3"],
    begin: Int[Tensor, "B T"] | None,
    *,
    heads: int,
    size: int,
    count: int,
    window: int,
) -> Float[Tensor, "B N T v"]:
    """`native_sparse_attention` by masks over all scores; k and v are repeated for each query head."""
    length, end = q.shape[2], k.shape[2]
    blocks, position = token_blocks(length, end, size, begin, q.device)
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    key = torch.arange(end, device=q.device)
    query = key[end - length :, None]
    causal = ((key <= query) & (blocks >= 0))[:, None]
    of_means, of_chosen, of_near = gates.split(1, -1)

    number = torch.arange(-(-end // size), device=q.device)
    own, over = (position // size)[:, None, :, None], ((position + 1) // size)[:, None, :, None]
    p = masked_softmax(block_means(scores, blocks, size), number < over)
    means = of_tokens(p / size, blocks, size).masked_fill(~(causal & (blocks[:, None] < over)), 0)

    likes = p.detach().unflatten(1, (heads, -1)).mean(2)
    likes = likes.masked_fill(number == 0, 2).masked_fill(number == own - 1, 3)  # more than any share
    likes = likes.masked_fill(number == own, torch.inf).masked_fill(number > own, -torch.inf)
    chosen = of_tokens(best_blocks(likes, count), blocks, size) & causal
    chosen = chosen.repeat_interleave(q.shape[1] // heads, 1)
    selected = scores.masked_fill(~chosen, -torch.inf).softmax(-1)
    y = torch.addcmul(means * of_means, selected, of_chosen) @ v

    first = max(0, end - length - window + 1)  # what no query of these sees any more
    near = causal[..., first:] & (key[first:] > query - window)
    near = scores[..., first:].masked_fill(~near, -torch.inf).softmax(-1)
    return torch.addcmul(y, of_near, near @ v[:, :, first:])


def native_sparse_attention(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B M S d"],
    v: Float[Tensor, "B M S v"],
    gates: Float[Tensor, "B N T 3"],
    begin: Int[Tensor, "B T"] | None = None,
    *,
    size: int,
    count: int,
    window: int,
) -> Float[Tensor, "B N T v"]:
    r"""Attention to the means of blocks, to the blocks of the best means, and to the latest tokens (NSA).

    .. math:: y_t = g_{t1} \sum_c p_{tc} \bar v_c + g_{t2}\, \mathrm{attend}(\text{chosen blocks})
        + g_{t3}\, \mathrm{attend}(\text{window}), \qquad
        p_{tc} = \mathrm{softmax}_c\big(q_t \cdot \bar k_c / \sqrt d\big)

    over the blocks c that are complete at t. Chosen are the first block, the own one and the one before, and
    those with the largest p, summed over the query heads of a key head; no gradient goes through the choice.

    Arguments:
        q, k, v, begin: as in `mixture_of_block_attention`.
        gates: weights of the three.
        size: tokens of a block.
        count: blocks that are chosen.
        window: latest tokens, the query's own included.

    Source: Yuan et al. 2025, Native Sparse Attention: Hardware-Aligned and Natively Trainable Sparse
    Attention.

    Example:
        >>> x = torch.randn(1, 2, 6, 4)
        >>> native_sparse_attention(x, x, x, torch.ones(1, 2, 6, 3), size=2, count=3, window=2).shape
        torch.Size([1, 2, 6, 4])
    """
    heads = k.shape[1]
    k, v = (x.to(q.dtype).repeat_interleave(q.shape[1] // heads, 1) for x in (k, v))
    if begin is not None or count == 1 or _is_short(q, k, size * count):
        options = {"heads": heads, "size": size, "count": count, "window": window}
        return _in_pieces(native_sparse_attention_definition, (q, gates), k, v, begin, **options)
    of_means, of_chosen, of_near = gates.split(1, -1)
    means, chosen = _compressed(q, k, v, heads, size, count)
    selected = chosen_block_attention(q, k, v, chosen.repeat_interleave(q.shape[1] // heads, 1), size=size)
    near = local_attention(q, k, v, window)
    return of_means * means + of_chosen * selected + of_near * near


def _compressed(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B N S d"],
    v: Float[Tensor, "B N S v"],
    heads: int,
    size: int,
    count: int,
) -> tuple[Float[Tensor, "B N T v"], Int[Tensor, "B M T c"]]:
    """Attention to the means of complete blocks, and the earlier blocks that each query chooses by it.

    A part of the queries at a time, for which blocks that end after them need not be compared.
    """
    keys, values = (whole_blocks(x, size).mean(3) for x in (k, v))
    end, found = k.shape[2] - q.shape[2], []
    for queries in (q * q.shape[-1] ** -0.5).split(PIECE, 2):
        position = torch.arange(end, end + queries.shape[2], device=q.device)[:, None]
        end += queries.shape[2]
        number = torch.arange(max(1, end // size), device=q.device)
        own = position // size
        hidden = torch.zeros(len(position), len(number), dtype=q.dtype, device=q.device)
        hidden = hidden.masked_fill(number >= (position + 1) // size, torch.finfo(q.dtype).min)
        p = (queries @ keys[:, :, : len(number)].mT + hidden).softmax(-1)
        y = (p @ values[:, :, : len(number)]) * (position + 1 >= size)  # no block is complete before
        likes = p.detach().unflatten(1, (heads, -1)).mean(2)
        likes = likes.masked_fill((number == 0) | (number >= own - 1), -torch.inf)
        always = torch.cat((own - 1, (own > 1).long() - 1), 1)[:, : count - 1].expand(*likes.shape[:3], -1)
        best = best_numbers(likes, max(0, count - 3))
        missing = count - 1 - always.shape[-1] - best.shape[-1]
        found.append((y, F.pad(torch.cat((always, best), -1), (0, missing), value=-1)))
    return torch.cat([y for y, _ in found], 2), torch.cat([chosen for _, chosen in found], 2)


def _is_short(q: Tensor, k: Tensor, seen: int) -> bool:
    """True where a mask over all scores is faster than gathering the tokens that are seen."""
    return q.shape[2] == 1 or q.shape[2] * k.shape[2] <= LONG * seen


def _in_pieces(
    attend: Callable[..., Tensor],
    queries: tuple[Tensor, ...],
    k: Tensor,
    v: Tensor,
    begin: Tensor | None,
    **options,
) -> Tensor:
    """A definition for a part of the queries at a time, so that its masks stay small."""
    end, outputs = k.shape[2] - queries[0].shape[2], []
    begins = [None] * -(-queries[0].shape[2] // PIECE) if begin is None else begin.split(PIECE, 1)
    for *piece, first in zip(*(x.split(PIECE, 2) for x in queries), begins, strict=True):
        end += piece[0].shape[2]
        outputs.append(attend(piece[0], k[:, :, :end], v[:, :, :end], *piece[1:], first, **options))
    return torch.cat(outputs, 2)
