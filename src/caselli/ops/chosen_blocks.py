"""Softmax attention of each query to its own block of keys and to earlier ones that were chosen for it."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from caselli.ops.attention import in_blocks
from caselli.ops.chunks import power_of_two
from caselli.shapes import Float, Int, Tensor

LARGEST = 64
"""Queries of a tile, at most."""


def chosen_block_attention_definition(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B N S d"],
    v: Float[Tensor, "B N S v"],
    chosen: Int[Tensor, "B N T c"],
    *,
    size: int,
) -> Float[Tensor, "B N T v"]:
    """`chosen_block_attention` by a mask over all scores."""
    key = torch.arange(k.shape[2], device=q.device)
    query = key[k.shape[2] - q.shape[2] :, None]
    seen = ((key // size == query // size) & (key <= query)).expand(*q.shape[:3], -1)
    for block in chosen.unbind(-1):
        seen = seen | (key // size == block[..., None])
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v


def chosen_block_attention(
    q: Float[Tensor, "B N T d"],
    k: Float[Tensor, "B N S d"],
    v: Float[Tensor, "B N S v"],
    chosen: Int[Tensor, "B N T c"],
    *,
    size: int,
) -> Float[Tensor, "B N T v"]:
    """Causal softmax attention to the tokens of a query's block and of c earlier ones, in O(T · c · size).

    Queries that chose one block are gathered in tiles, so that all products are those of matrices.

    Arguments:
        q: queries, the last T of the S tokens.
        k, v: keys and values, a head of theirs for each of the queries'.
        chosen: numbers of blocks before the query's own, each once; −1 for none.
        size: tokens of a block.

    Example:
        >>> v = torch.arange(6.0).view(1, 1, 6, 1)
        >>> q, chosen = torch.zeros(1, 1, 6, 2), torch.tensor([-1, -1, -1, 0, 1, 0]).view(1, 1, 6, 1)
        >>> chosen_block_attention(q, q, v, chosen, size=2).flatten()
        tensor([0.0000, 0.5000, 2.0000, 1.5000, 3.0000, 2.5000])
    """
    length, wide = q.shape[2], q.shape[-1]
    first, phase = divmod(k.shape[2] - length, size)
    q = in_blocks(F.pad(q * wide**-0.5, (0, 0, phase, 0)), size)
    chosen = F.pad(chosen, (0, 0, phase, q.shape[2] * size - phase - length), value=-1)
    k, v = (in_blocks(x, size) for x in (k, v))
    place = torch.arange(size, device=q.device)
    own = (q @ k[:, :, first:].mT).masked_fill(place > place[:, None], -torch.inf)

    tiles = _Tiles.of(chosen, k.shape[2])
    pairs = q.flatten(2, 3)[:, :, :, None].expand(*chosen.shape, wide).reshape(-1, wide)
    far = tiles.back(tiles.into(pairs) @ tiles.blocks(k).mT).view(*chosen.shape, size)
    far = far.masked_fill(chosen[..., None] < 0, -torch.inf).view(*own.shape[:-1], -1)
    own, far = torch.cat((own, far), -1).softmax(-1).split((size, far.shape[-1]), -1)
    y = tiles.back(tiles.into(far.reshape(-1, size)) @ tiles.blocks(v)).view(*chosen.shape, -1).sum(3)
    y = (own @ v[:, :, first:]).flatten(2, 3) + y
    return y[:, :, phase : phase + length]


@dataclasses.dataclass(frozen=True)
class _Tiles:
    """Pairs of a query and a block, sorted by block, in tiles of which each has pairs of one block alone.

    There are as many tiles as there could be at most, so that no shape depends on what was chosen.
    """

    pair: Int[Tensor, "n size"]
    """The pair in each place of the tiles; the number of pairs where there is none."""
    place: Int[Tensor, "*P"]
    """The place of each pair."""
    block: Int[Tensor, "n"]
    """The block of each tile, among those of all heads."""

    @staticmethod
    def of(chosen: Int[Tensor, "B N T c"], blocks: int) -> _Tiles:
        """Tiles for pairs in the order of `chosen`, of `blocks` blocks a head."""
        heads = torch.arange(chosen.shape[0] * chosen.shape[1], device=chosen.device).view(*chosen.shape[:2])
        block = (heads[..., None, None] * blocks + chosen.clamp(min=0)).flatten()
        count, pairs = heads.numel() * blocks, len(block)
        size = min(LARGEST, power_of_two(max(8, pairs // count)))
        taken = torch.zeros(count, dtype=torch.int64, device=block.device)
        taken = taken.scatter_add(0, block, torch.ones_like(block))
        tiles = -(-taken // size)
        order = block.argsort(stable=True)
        shift = (tiles.cumsum(0) - tiles) * size - (taken.cumsum(0) - taken)
        number = torch.arange(pairs, device=block.device)
        place = torch.empty_like(block).scatter(0, order, number + shift[block[order]])
        most = pairs // size + count
        pair = torch.full((most * size,), pairs, device=block.device).scatter(0, place, number)
        tile = torch.arange(most, device=block.device)
        tile = torch.searchsorted(tiles.cumsum(0), tile, right=True).clamp(max=count - 1)
        return _Tiles(pair.view(most, size), place, tile)

    def into(self, x: Float[Tensor, "P d"]) -> Float[Tensor, "n size d"]:
        """Rows of the pairs, in their places; zeros in the others."""
        return _Rows.apply(x, self.pair.flatten(), self.place).view(*self.pair.shape, -1)

    def back(self, x: Float[Tensor, "n size d"]) -> Float[Tensor, "P d"]:
        """The adjoint, and the inverse, of `into`."""
        return _Rows.apply(x.flatten(0, 1), self.place, self.pair.flatten())

    def blocks(self, x: Float[Tensor, "B N m size d"]) -> Float[Tensor, "n size d"]:
        """Keys or values of each tile's block."""
        return x.flatten(0, 2).index_select(0, self.block)


class _Rows(torch.autograd.Function):
    """Rows of x by their numbers, zeros for the number of rows; the gradient takes its rows by `inverse`."""

    @staticmethod
    def forward(ctx, x, rows, inverse):
        ctx.save_for_backward(rows, inverse)
        if len(rows) > len(inverse):  # some of these rows are none
            x = F.pad(x, (0, 0, 0, 1))
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx, gradient):
        rows, inverse = ctx.saved_tensors
        return _Rows.apply(gradient, inverse, rows), None, None
