"""Linear attention with a scalar decay or none: kernels for the states, the outputs and the gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from caselli.ops.kernels import WIDEST
from caselli.ops.kernels.language import jit, tl, triton
from caselli.shapes import Float, Int, Tensor

CHUNK = 32
"""Tokens that are compared directly: what fits into every device's shared memory."""


@jit
def states(
    keys, values, passed, state, entering, last,
    chunks, length, groups, heads, width, columns,
    vector: tl.constexpr, reverse: tl.constexpr,
    CHUNK: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """S_c = a_c S_{c−1} + Σ k vᵀ of one head, chunk after chunk: the states before each, and the last.

    a is one number for each head, or (`vector`) one for each row of S and each group.
    """
    row = tl.program_id(0).to(tl.int64)
    begin, head = row // heads * length, row % heads
    group = head // (heads // groups)
    t, d, v = tl.arange(0, CHUNK), tl.arange(0, WIDTH)[:, None], tl.arange(0, COLUMNS)[None]
    place, inside = d * columns + v, (d < width) & (v < columns)
    held = tl.load(state + row * width * columns + place, mask=inside, other=0.0)
    for step in range(chunks):
        chunk = chunks - 1 - step if reverse else step
        tl.store(entering + (row * chunks + chunk) * width * columns + place, held, mask=inside)
        token = chunk * CHUNK + t
        k = tl.load(
            keys + ((begin + token[None]) * groups + group) * width + d,
            mask=(token[None] < length) & (d < width),
            other=0.0,
        )
        u = tl.load(
            values + ((begin + token[:, None]) * heads + head) * columns + v,
            mask=(token[:, None] < length) & (v < columns),
            other=0.0,
        )
        if vector:
            rates = ((row // heads * groups + group) * chunks + chunk) * width + d
            held *= tl.load(passed + rates, mask=d < width, other=0.0)
        else:
            held *= tl.load(passed + row * chunks + chunk)
        held += tl.dot(k, u, input_precision="ieee")
    tl.store(last + row * width * columns + place, held, mask=inside)


@jit
def tile(x, token, length, count, index, columns, COLUMNS: tl.constexpr):
    """The rows of one head or group at some tokens, zeros outside."""
    column = tl.arange(0, COLUMNS)[None]
    inside = (token[:, None] < length) & (column < columns)
    return tl.load(x + (token[:, None] * count + index) * columns + column, mask=inside, other=0.0)


@jit
def _decay(total, begun, token, length, first, heads, head, CHUNK: tl.constexpr):
    """Decay from each token of a chunk (columns) to each later one (rows) of its sequence."""
    t = tl.arange(0, CHUNK)
    sums = tl.load(total + token * heads + head, mask=first + t < length, other=0.0)
    sequence = tl.load(begun + token, mask=first + t < length, other=-1)
    known = (t[:, None] >= t[None]) & (sequence[:, None] == sequence[None])
    return tl.exp(tl.where(known, sums[:, None] - sums[None], float("-inf")))


@jit
def _outputs(
    q, k, v, total, begun, kept, entering, y,
    chunks, length, groups, heads, width, columns,
    CHUNK: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One chunk of one head."""
    row, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    begin, head = row // heads * length, row % heads
    group, end = head // (heads // groups), begin + length
    token = begin + chunk * CHUNK + tl.arange(0, CHUNK)
    queries = tile(q, token, end, groups, group, width, WIDTH)
    keys = tile(k, token, end, groups, group, width, WIDTH)
    values = tile(v, token, end, heads, head, columns, COLUMNS)
    decay = _decay(total, begun, token, length, chunk * CHUNK, heads, head, CHUNK)
    d, u = tl.arange(0, WIDTH)[:, None], tl.arange(0, COLUMNS)[None]
    memory = tl.load(
        entering + (row * chunks + chunk) * width * columns + d * columns + u,
        mask=(d < width) & (u < columns),
        other=0.0,
    )
    reach = tl.load(kept + token * heads + head, mask=token < end, other=0.0)
    scores = tl.dot(queries, tl.trans(keys), input_precision="ieee") * decay
    found = tl.dot(scores, values, input_precision="ieee")
    found += tl.dot(queries * reach[:, None], memory, input_precision="ieee")
    inside = (token[:, None] < end) & (u < columns)
    tl.store(y + (token[:, None] * heads + head) * columns + u, found, mask=inside)


@jit
def _gradients(
    q, k, v, of_y, total, begun, kept, left, entering, leaving, of_q, of_k, of_v,
    chunks, length, groups, heads, width, columns,
    CHUNK: tl.constexpr, WIDTH: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One chunk of one head; the gradients of q and k are each head's own."""
    row, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    begin, head = row // heads * length, row % heads
    group, end = head // (heads // groups), begin + length
    token = begin + chunk * CHUNK + tl.arange(0, CHUNK)
    queries = tile(q, token, end, groups, group, width, WIDTH)
    keys = tile(k, token, end, groups, group, width, WIDTH)
    values = tile(v, token, end, heads, head, columns, COLUMNS)
    upstream = tile(of_y, token, end, heads, head, columns, COLUMNS)
    decay = _decay(total, begun, token, length, chunk * CHUNK, heads, head, CHUNK)
    d, u = tl.arange(0, WIDTH)[:, None], tl.arange(0, COLUMNS)[None]
    place = (row * chunks + chunk) * width * columns + d * columns + u
    inside = (d < width) & (u < columns)
    memory = tl.load(entering + place, mask=inside, other=0.0)
    later = tl.load(leaving + place, mask=inside, other=0.0)
    reach = tl.load(kept + token * heads + head, mask=token < end, other=0.0)[:, None]
    stay = tl.load(left + token * heads + head, mask=token < end, other=0.0)[:, None]

    scores = tl.dot(queries, tl.trans(keys), input_precision="ieee") * decay
    of_scores = tl.dot(upstream, tl.trans(values), input_precision="ieee") * decay
    found = tl.dot(of_scores, keys, input_precision="ieee")
    found += tl.dot(upstream * reach, tl.trans(memory), input_precision="ieee")
    column = tl.arange(0, WIDTH)[None]
    where, mask = (token[:, None] * heads + head) * width + column, (token[:, None] < end) & (column < width)
    tl.store(of_q + where, found, mask=mask)
    found = tl.dot(tl.trans(of_scores), queries, input_precision="ieee")
    found += tl.dot(values * stay, tl.trans(later), input_precision="ieee")
    tl.store(of_k + where, found, mask=mask)
    found = tl.dot(tl.trans(scores), upstream, input_precision="ieee")
    found += tl.dot(keys * stay, later, input_precision="ieee")
    mask = (token[:, None] < end) & (u < columns)
    tl.store(of_v + (token[:, None] * heads + head) * columns + u, found, mask=mask)


@dataclasses.dataclass(frozen=True)
class _Decays:
    """Inputs of the kernels that describe decays and packed sequences."""

    total: Float[Tensor, "B T N"]
    """Sums of the log decays since the chunk began."""
    begun: Int[Tensor, "B T"]
    """Sequences that have begun in the chunk."""
    kept: Float[Tensor, "B T N"]
    left: Float[Tensor, "B T N"]
    passed: Float[Tensor, "B N n"]

    @staticmethod
    def of(log_decay: Tensor, starts: Tensor | None) -> _Decays:
        total, begun = to_chunks(log_decay).cumsum(2), sequences(log_decay, starts)
        last, ends = total[:, :, -1:], begun[:, :, -1:]
        kept = total.exp() * (begun == 0)[..., None]
        left = (last - total).exp() * (begun == ends)[..., None]
        passed = (last.exp() * (ends == 0)[..., None])[:, :, 0].mT
        timed = (to_tokens(x, log_decay.shape[1]) for x in (total, begun, kept, left))
        return _Decays(*timed, passed.contiguous())


def to_chunks(x: Tensor) -> Tensor:
    """`B T …` as `B n CHUNK …`, the last chunk filled up with zeros."""
    return F.pad(x, (0, 0) * (x.ndim - 2) + (0, -x.shape[1] % CHUNK)).unflatten(1, (-1, CHUNK))


def to_tokens(x: Tensor, length: int) -> Tensor:
    """The inverse of `to_chunks`."""
    return x.flatten(1, 2)[:, :length].contiguous()


def sequences(like: Tensor, starts: Tensor | None) -> Int[Tensor, "B n C"]:
    """Number of sequences that have begun in the chunk up to each token."""
    if starts is None:
        starts = torch.zeros(like.shape[:2], dtype=torch.bool, device=like.device)
    return to_chunks(starts.int()).cumsum(2, dtype=torch.int32)


def linear_attention(q, k, v, log_decay, state, starts=None) -> tuple[Tensor, Tensor]:
    """`caselli.ops.linear_attention` of float32 tensors, T ≥ 1; differentiable once."""
    log_decay = log_decay.repeat_interleave(triton.cdiv(v.shape[3], WIDEST), 2)
    return in_columns(lambda v, state: _LinearAttention.apply(q, k, v, log_decay, state, starts), v, state)


def in_columns(
    compute: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], v: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Values that are too wide for a kernel, divided among more heads, which share a query and key."""
    heads, columns = v.shape[2:]
    parts = triton.cdiv(columns, WIDEST)
    if parts == 1:
        return compute(v, state)
    missing = (0, -columns % parts)
    v = F.pad(v, missing).unflatten(3, (parts, -1)).flatten(2, 3)
    state = F.pad(state, missing).unflatten(3, (parts, -1)).transpose(2, 3).flatten(1, 2)
    y, state = compute(v, state)
    state = state.unflatten(1, (heads, parts)).transpose(2, 3).flatten(3)
    return y.unflatten(2, (heads, parts)).flatten(3)[..., :columns], state[..., :columns]


class _LinearAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, log_decay, state, starts):
        q, k, v, state = (x.contiguous() for x in (q, k, v, state))
        decays = _Decays.of(log_decay, starts)
        told, shape = sizes(k, v)
        y, entering, last = (
            torch.empty_like(v),
            state.new_empty(*shape, *state.shape[2:]),
            torch.empty_like(state),
        )
        weighted = v * decays.left[..., None]
        states[shape[:1]](k, weighted, decays.passed, state, entering, last, *told[0], False, False, *told[1])
        per_token = (decays.total, decays.begun, decays.kept)
        _outputs[shape](q, k, v, *per_token, entering, y, *told[0], *told[1])
        ctx.save_for_backward(q, k, v, log_decay, starts, y, entering, last)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx, of_y, of_last):
        q, k, v, log_decay, starts, y, entering, last = ctx.saved_tensors
        of_y, of_last, decays = of_y.contiguous(), of_last.contiguous(), _Decays.of(log_decay, starts)
        told, shape = sizes(k, v)
        leaving, of_state = torch.empty_like(entering), torch.empty_like(of_last)
        read = of_y * decays.kept[..., None]
        states[shape[:1]](q, read, decays.passed, of_last, leaving, of_state, *told[0], False, True, *told[1])
        of_q, of_k = (q.new_empty(*v.shape[:3], q.shape[3]) for _ in range(2))
        of_v = torch.empty_like(v)
        per_token = (decays.total, decays.begun, decays.kept, decays.left)
        found = (entering, leaving, of_q, of_k, of_v)
        _gradients[shape](q, k, v, of_y, *per_token, *found, *told[0], *told[1])
        of_decay = None
        if ctx.needs_input_grad[3]:
            of_decay = _decay_gradient(y, of_y, v, of_v, entering, leaving, last)
        groups = (q.shape[2], -1)
        of_q, of_k = (x.unflatten(2, groups).sum(3) for x in (of_q, of_k))
        return of_q, of_k, of_v, of_decay, of_state, None


def _decay_gradient(y, of_y, v, of_v, entering, leaving, last):
    """Outputs and states grow with e^total at their end, and inversely with that at their beginning."""
    of_total = to_chunks((of_y * y).sum(-1) - (v * of_v).sum(-1))
    of_total[:, :, -1] += (after_each(entering, last) * leaving.unflatten(0, last.shape[:2])).sum((3, 4)).mT
    return to_tokens(of_total.flip(2).cumsum(2).flip(2), v.shape[1])


def after_each(entering: Tensor, last: Tensor) -> Tensor:
    """The states after each chunk, `B N n d v`, of those before each and the last."""
    return torch.cat((entering.unflatten(0, last.shape[:2])[:, :, 1:], last[:, :, None]), 2)


def sizes(k: Tensor, v: Tensor) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], tuple[int, int]]:
    """The sizes of the tensors, those of the tiles, and the grid: heads and chunks."""
    (batch, length, groups, width), (heads, columns) = k.shape, v.shape[2:]
    chunks = triton.cdiv(length, CHUNK)
    tiles = (CHUNK, *(max(16, triton.next_power_of_2(size)) for size in (width, columns)))
    return ((chunks, length, groups, heads, width, columns), tiles), (batch * heads, chunks)
