"""Softmax attention: dense, and in the blocks that a mask leaves."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from caselli.private import number_or
from caselli.shapes import Bool, Float, Int, Tensor

SHORT = 128 * 128
"""Products T · S up to which plain matrix products train faster than the fused kernel on a CPU (five times at
T = 64 in bfloat16, even at T = 256)."""


def attention_definition(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B M S d"],
    v: Float[Tensor, "B M S v"],
    mask: Bool[Tensor, "#B #N T S"],
) -> Float[Tensor, "B N T v"]:
    """`attention` query by query, as it is written."""
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    outputs = []
    for t in range(q.shape[2]):
        scores = (k @ q[:, :, t, :, None])[..., 0] * q.shape[-1] ** -0.5
        weights = scores.masked_fill(~mask[:, :, t], -torch.inf).softmax(-1)
        outputs.append((weights[:, :, None] @ v)[:, :, 0])
    return torch.stack(outputs, 2)


def attention(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B M S d"],
    v: Float[Tensor, "B M S v"],
    mask: Bool[Tensor, "#B #N T S"] | None = None,
    *,
    causal: bool = False,
) -> Float[Tensor, "B N T v"]:
    r"""Softmax attention through PyTorch's fused kernels.

    .. math:: y_t = \sum_s \mathrm{softmax}_s\big(q_t \cdot k_s / \sqrt d\big)\, v_s

    Arguments:
        q: queries of N heads.
        k, v: keys and values of M heads, M a divisor of N (grouped-query attention).
        mask: True where query t sees key s; every query must see one.
        causal: instead of a mask, S ≥ T: the queries are the last T of the S tokens and see none ahead.

    Source: Vaswani et al. 2017, Attention Is All You Need.

    Example:
        >>> v = torch.arange(3.0).view(1, 1, 3, 1)
        >>> attention(torch.zeros(1, 1, 3, 2), torch.zeros(1, 1, 3, 2), v, causal=True).flatten()
        tensor([0.0000, 0.5000, 1.0000])
    """
    length, end = q.shape[2], k.shape[2]
    square = causal and 1 < length == end
    if causal and 1 < length < end:
        mask = torch.ones(length, end, dtype=torch.bool, device=q.device).tril(end - length)
    k, v = k.to(q.dtype), v.to(q.dtype)
    if q.device.type == "cpu" and 1 < length * end <= SHORT and q.requires_grad:
        return _short(q, k, v, mask, square)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=square, enable_gqa=q.shape[1] != k.shape[1]
    )


def _short(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """The definition in two matrix products; on a CPU the fused backward is made for long sequences."""
    device = q.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else q.dtype
    shape, groups = q.shape[:3], q.shape[1] // k.shape[1]
    q, k, v = (x.to(dtype) for x in (q, k, v))
    q, k, v = (x.flatten(0, 1) for x in (q, *(x.repeat_interleave(groups, 1) for x in (k, v))))
    seen = q.new_zeros(shape[2], k.shape[1])
    if causal:
        seen = torch.full_like(seen, -torch.inf).triu(1)
    with torch.autocast(device, enabled=False):  # it would widen the weights, which are rounded in any case
        scores = torch.baddbmm(seen, q, k.mT, alpha=q.shape[-1] ** -0.5)
        if mask is not None:
            scores = scores.unflatten(0, shape[:2]).masked_fill(~mask, -torch.inf).flatten(0, 1)
        return (scores.softmax(-1) @ v).unflatten(0, shape[:2])


def packed_mask(begin: Int[Tensor, "B T"], end: int, *, causal: bool = True) -> Bool[Tensor, "B 1 T S"]:
    """Who sees whom where several sequences are packed in one row.

    Arguments:
        begin: for each query the index of the key at which its sequence begins.
        end: S, the number of keys; the queries are the last T of them.
        causal: whether a query sees only itself and the past; otherwise S = T.

    Example:
        >>> packed_mask(torch.tensor([[0, 1, 1]]), 3).long()
        tensor([[[[1, 0, 0],
                  [0, 1, 0],
                  [0, 1, 1]]]])
    """
    if not causal:
        return (begin[:, :, None] == begin[:, None, :])[:, None]
    key = torch.arange(end, device=begin.device)
    query = key[end - begin.shape[1] :, None]
    return ((key <= query) & (key >= begin[:, :, None]))[:, None]


def block_sparse_attention(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B N S d"],
    v: Float[Tensor, "B N S v"],
    mask: Bool[Tensor, "#B #N T S"],
    *,
    block_size: int = 64,
) -> Float[Tensor, "B N T v"]:
    """`attention` under any mask, at the cost of the blocks in which the mask has something.

    For each block of queries the blocks of keys that it sees are gathered; every block of queries pays for as
    many as the busiest one.

    Arguments:
        q, k, v: as in `attention`, with as many key heads as query heads.
        mask: True where query t sees key s; every query must see one. With one entry for the batch or the
            heads, the blocks are found once.
        block_size: tokens of a block.

    Source: Child et al. 2019, Generating Long Sequences with Sparse Transformers.

    Example:
        >>> q, k, v = torch.randn(3, 1, 2, 8, 4)
        >>> mask = torch.ones(1, 1, 8, 8, dtype=torch.bool).tril()
        >>> torch.allclose(block_sparse_attention(q, k, v, mask, block_size=2), attention(q, k, v, mask))
        True
    """
    length, size = q.shape[2], block_size
    q, k, v = (in_blocks(x, size) for x in (q, k, v))
    batch, heads, queries = q.shape[:3]
    mask = _mask_in_blocks(mask, size)
    seen = mask.flatten(4).any(4)
    most = number_or(seen.sum(3).max(), seen.shape[3])
    chosen = torch.argsort(seen.byte(), dim=3, descending=True, stable=True)[..., :most]
    mask = mask.gather(3, chosen[..., None, None].expand(*chosen.shape, size, size))
    mask = mask.transpose(3, 4).flatten(4).expand(batch, heads, queries, size, -1)
    mask = mask | ~mask.any(-1, keepdim=True)  # the queries that fill up the last block see nothing

    row = torch.arange(batch * heads, device=q.device).view(batch, heads, 1, 1) * k.shape[2] + chosen
    k, v = (
        x.flatten(0, 2).index_select(0, row.flatten()).view(-1, 1, most * size, x.shape[-1]) for x in (k, v)
    )
    y = attention(q.reshape(-1, 1, size, q.shape[-1]), k, v, mask.reshape(-1, 1, size, most * size))
    return y.view(batch, heads, queries * size, -1)[:, :, :length]


def in_blocks(x: Float[Tensor, "B N T d"], size: int) -> Float[Tensor, "B N n size d"]:
    """Tokens in blocks, the last one filled up with zeros.

    Example:
        >>> in_blocks(torch.ones(1, 1, 3, 1), 2).flatten()
        tensor([1., 1., 1., 0.])
    """
    return F.pad(x, (0, 0, 0, -x.shape[2] % size)).unflatten(2, (-1, size))


def _mask_in_blocks(mask: Tensor, size: int) -> Tensor:
    """`B N T S` → `B N n m size size`."""
    mask = F.pad(mask, (0, -mask.shape[3] % size, 0, -mask.shape[2] % size))
    return mask.unflatten(3, (-1, size)).unflatten(2, (-1, size)).transpose(3, 4)
