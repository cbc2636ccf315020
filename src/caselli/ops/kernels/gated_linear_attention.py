"""Linear attention with a decay for each channel of the keys: kernels for outputs and gradients."""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from caselli.ops.kernels import linear_attention as scalar
from caselli.ops.kernels.language import jit, tl
from caselli.shapes import Tensor


@jit
def _pairs(query_total, key_total, sequence, j, CHUNK: tl.constexpr):
    """Decay from token j of the chunk to each later one of its sequence, in every channel."""
    t = tl.arange(0, CHUNK)
    chosen = (t == j)[:, None]
    mine = tl.sum(tl.where(t == j, sequence, 0), 0)
    known = (t > j) & (sequence == mine)
    sums = tl.sum(tl.where(chosen, key_total, 0.0), 0)
    return tl.exp(tl.where(known[:, None], query_total - sums[None], float("-inf")))


@jit
def _row(tile, j, CHUNK: tl.constexpr):
    """Row j of a tile."""
    return tl.sum(tl.where((tl.arange(0, CHUNK) == j)[:, None], tile, 0.0), 0)


@jit
def _outputs(
    q, k, v, query_total, key_total, begun, own, reads, entering, y,
    chunks, length, groups, heads, width, columns,
    CHUNK: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One chunk of one head."""
    row, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    begin, head = row // heads * length, row % heads
    group, end = head // (heads // groups), begin + length
    token = begin + chunk * CHUNK + tl.arange(0, CHUNK)
    queries = scalar.tile(q, token, end, groups, group, width, WIDTH)
    keys = scalar.tile(k, token, end, groups, group, width, WIDTH)
    values = scalar.tile(v, token, end, heads, head, columns, COLUMNS)
    later = scalar.tile(query_total, token, end, groups, group, width, WIDTH)
    earlier = scalar.tile(key_total, token, end, groups, group, width, WIDTH)
    sequence = tl.load(begun + token, mask=token < end, other=-1)
    d, u = tl.arange(0, WIDTH)[:, None], tl.arange(0, COLUMNS)[None]
    place = (row * chunks + chunk) * width * columns + d * columns + u
    memory = tl.load(entering + place, mask=(d < width) & (u < columns), other=0.0)
    read = scalar.tile(reads, token, end, groups, group, width, WIDTH)
    weight = tl.load(own + token * groups + group, mask=token < end, other=0.0)
    found = tl.dot(read, memory, input_precision="ieee") + weight[:, None] * values
    for j in range(CHUNK):
        decay = _pairs(later, earlier, sequence, j, CHUNK)
        scores = tl.sum(queries * _row(keys, j, CHUNK)[None] * decay, 1)
        found += scores[:, None] * _row(values, j, CHUNK)[None]
    inside = (token[:, None] < end) & (u < columns)
    tl.store(y + (token[:, None] * heads + head) * columns + u, found, mask=inside)


@jit
def _gradients(
    q, k, v, of_y, query_total, key_total, begun, kept, left, entering, leaving, of_q, of_k, of_v,
    chunks, length, groups, heads, width, columns,
    CHUNK: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One chunk of one head; each token's weight for itself is left out."""
    row, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    begin, head = row // heads * length, row % heads
    group, end = head // (heads // groups), begin + length
    t = tl.arange(0, CHUNK)
    token = begin + chunk * CHUNK + t
    queries = scalar.tile(q, token, end, groups, group, width, WIDTH)
    keys = scalar.tile(k, token, end, groups, group, width, WIDTH)
    values = scalar.tile(v, token, end, heads, head, columns, COLUMNS)
    upstream = scalar.tile(of_y, token, end, heads, head, columns, COLUMNS)
    later = scalar.tile(query_total, token, end, groups, group, width, WIDTH)
    earlier = scalar.tile(key_total, token, end, groups, group, width, WIDTH)
    reach = scalar.tile(kept, token, end, groups, group, width, WIDTH)
    stay = scalar.tile(left, token, end, groups, group, width, WIDTH)
    sequence = tl.load(begun + token, mask=token < end, other=-1)
    d, u = tl.arange(0, WIDTH)[:, None], tl.arange(0, COLUMNS)[None]
    place = (row * chunks + chunk) * width * columns + d * columns + u
    inside = (d < width) & (u < columns)
    memory = tl.load(entering + place, mask=inside, other=0.0)
    after = tl.load(leaving + place, mask=inside, other=0.0)

    of_queries = tl.dot(upstream, tl.trans(memory), input_precision="ieee") * reach
    of_keys = tl.dot(values, tl.trans(after), input_precision="ieee") * stay
    of_values = tl.dot(keys * stay, after, input_precision="ieee")
    for j in range(CHUNK):
        decay, chosen = _pairs(later, earlier, sequence, j, CHUNK), (t == j)[:, None]
        key = _row(keys, j, CHUNK)[None] * decay
        of_scores = tl.sum(upstream * _row(values, j, CHUNK)[None], 1)[:, None]
        scores = tl.sum(queries * key, 1)[:, None]
        of_queries += of_scores * key
        of_keys += tl.where(chosen, tl.sum(of_scores * queries * decay, 0)[None], 0.0)
        of_values += tl.where(chosen, tl.sum(scores * upstream, 0)[None], 0.0)
    column = tl.arange(0, WIDTH)[None]
    where, mask = (token[:, None] * heads + head) * width + column, (token[:, None] < end) & (column < width)
    tl.store(of_q + where, of_queries, mask=mask)
    tl.store(of_k + where, of_keys, mask=mask)
    mask = (token[:, None] < end) & (u < columns)
    tl.store(of_v + (token[:, None] * heads + head) * columns + u, of_values, mask=mask)


def gated_linear_attention(q, k, v, log_decay, state, bonus=None, starts=None) -> tuple[Tensor, Tensor]:
    """`caselli.ops.gated_linear_attention` of float32 tensors, T ≥ 1; differentiable once."""
    return scalar.in_columns(
        lambda v, state: _GatedLinearAttention.apply(q, k, v, log_decay, state, bonus, starts), v, state
    )


class _GatedLinearAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, log_decay, state, bonus, starts):
        q, k, v, state = (x.contiguous() for x in (q, k, v, state))
        (query_total, key_total, begun, kept, left), passed = _decays(log_decay, bonus, starts)
        told, shape = scalar.sizes(k, v)
        y, last = torch.empty_like(v), torch.empty_like(state)
        entering = state.new_empty(*shape, *state.shape[2:])
        scalar.states[shape[:1]](k * left, v, passed, state, entering, last, *told[0], True, False, *told[1])
        own = (q * k if bonus is None else q * k * bonus).sum(-1)
        given = (query_total, key_total, begun, own, q * kept)
        _outputs[shape](q, k, v, *given, entering, y, *told[0], *told[1])
        ctx.save_for_backward(q, k, v, log_decay, bonus, starts, entering, last)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx, of_y, of_last):
        q, k, v, log_decay, bonus, starts, entering, last = ctx.saved_tensors
        of_y, of_last = of_y.contiguous(), of_last.contiguous()
        timed, passed = _decays(log_decay, bonus, starts)
        told, shape = scalar.sizes(k, v)
        leaving, of_state = torch.empty_like(entering), torch.empty_like(of_last)
        reads = q * timed[3]
        scalar.states[shape[:1]](
            reads, of_y, passed, of_last, leaving, of_state, *told[0], True, True, *told[1]
        )
        of_q, of_k = (q.new_empty(*v.shape[:3], q.shape[3]) for _ in range(2))
        of_v = torch.empty_like(v)
        _gradients[shape](q, k, v, of_y, *timed, entering, leaving, of_q, of_k, of_v, *told[0], *told[1])
        groups = (q.shape[2], -1)
        of_q, of_k = (x.unflatten(2, groups).sum(3) for x in (of_q, of_k))

        ends = (scalar.after_each(entering, last) * leaving.unflatten(0, last.shape[:2])).sum(-1)
        of_reads = q * of_q
        of_total = scalar.to_chunks(of_reads - k * of_k)
        of_total[:, :, -1] += ends.unflatten(1, groups).sum(2).transpose(1, 2)
        of_decay = scalar.to_tokens(of_total.flip(2).cumsum(2).flip(2), v.shape[1])
        of_own = (of_y * v).sum(-1).unflatten(2, groups).sum(3)[..., None]
        weight = 1.0 if bonus is None else bonus
        own = (q * k * weight).sum(-1).repeat_interleave(v.shape[2] // q.shape[2], 2)
        of_bonus = None if bonus is None else (of_own * q * k).sum((0, 1))
        found = (of_q + of_own * k * weight, of_k + of_own * q * weight, of_v + own[..., None] * of_y)
        return *found, of_decay if bonus is None else of_decay - of_reads, of_state, of_bonus, None


def _decays(log_decay: Tensor, bonus: Tensor | None, starts: Tensor | None) -> tuple[tuple, Tensor]:
    """Totals of queries and keys, sequences, what is kept, what is left; and what passes, `B N n d`."""
    folded, begun = scalar.to_chunks(log_decay), scalar.sequences(log_decay, starts)
    total = folded.cumsum(2)
    query_total, last, ends = total if bonus is None else total - folded, total[:, :, -1:], begun[:, :, -1:]
    kept = query_total.exp() * (begun == 0)[..., None, None]
    left = (last - total).exp() * (begun == ends)[..., None, None]
    passed = (last.exp() * (ends == 0)[..., None, None])[:, :, 0].transpose(1, 2)
    timed = (scalar.to_tokens(x, log_decay.shape[1]) for x in (query_total, total, begun, kept, left))
    return tuple(timed), passed.contiguous()
