"""The selective scan in one kernel each way: states stay in registers, the gradient computes them again."""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from caselli.ops.kernels.language import jit, tl, triton
from caselli.shapes import Tensor

BLOCK, PIECE = 32, 64
"""Channels of a program; tokens between the states that are kept for the gradient."""


@jit
def _forward(
    x, delta, b, c, a, starts, state, y, befores, last,
    length, channels, states,
    marked: tl.constexpr, piece: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Some channels of one row of the batch, token after token."""
    row = tl.program_id(0).to(tl.int64)
    channel, n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, STATES)
    here, some = channel < channels, n < states
    place, inside = channel[:, None] * states + n[None], here[:, None] & some[None]
    pieces = tl.cdiv(length, piece)
    rates = tl.load(a + place, mask=inside, other=0.0)
    h = tl.load(state + row * channels * states + place, mask=inside, other=0.0)
    for t in range(length):
        token = row * length + t
        if t % piece == 0:
            tl.store(befores + (row * pieces + t // piece) * channels * states + place, h, mask=inside)
        if marked:
            h = h * (1 - tl.load(starts + token).to(tl.float32))
        xs = tl.load(x + token * channels + channel, mask=here, other=0.0)
        deltas = tl.load(delta + token * channels + channel, mask=here, other=0.0)
        bs = tl.load(b + token * states + n, mask=some, other=0.0)
        cs = tl.load(c + token * states + n, mask=some, other=0.0)
        h = tl.exp(deltas[:, None] * rates) * h + (deltas * xs)[:, None] * bs[None]
        tl.store(y + token * channels + channel, tl.sum(h * cs[None], 1), mask=here)
    tl.store(last + row * channels * states + place, h, mask=inside)


@jit
def _backward(
    x, delta, b, c, a, starts, befores, of_y, of_last,
    of_x, of_delta, of_b, of_c, of_a, of_state, scratch,
    length, channels, states,
    marked: tl.constexpr, piece: tl.constexpr, STATES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """From the last piece to the first: its states once more, then the adjoint through it."""
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    channel, n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, STATES)
    here, some = channel < channels, n < states
    place, inside = channel[:, None] * states + n[None], here[:, None] & some[None]
    pieces, parts = tl.cdiv(length, piece), tl.num_programs(1)
    rates = tl.load(a + place, mask=inside, other=0.0)
    adjoint = tl.load(of_last + row * channels * states + place, mask=inside, other=0.0)
    of_rates = tl.zeros((BLOCK, STATES), dtype=tl.float32)
    for step in range(pieces):
        index = pieces - 1 - step
        begin = index * piece
        h = tl.load(befores + (row * pieces + index) * channels * states + place, mask=inside, other=0.0)
        count = tl.minimum(piece, length - begin)
        for t in range(count):  # scratch holds the states before each token
            token = row * length + begin + t
            if marked:
                h = h * (1 - tl.load(starts + token).to(tl.float32))
            tl.store(scratch + (row * piece + t) * channels * states + place, h, mask=inside)
            xs = tl.load(x + token * channels + channel, mask=here, other=0.0)
            deltas = tl.load(delta + token * channels + channel, mask=here, other=0.0)
            bs = tl.load(b + token * states + n, mask=some, other=0.0)
            h = tl.exp(deltas[:, None] * rates) * h + (deltas * xs)[:, None] * bs[None]
        tl.debug_barrier()
        for backwards in range(count):
            t = count - 1 - backwards
            token = row * length + begin + t
            xs = tl.load(x + token * channels + channel, mask=here, other=0.0)
            deltas = tl.load(delta + token * channels + channel, mask=here, other=0.0)
            bs = tl.load(b + token * states + n, mask=some, other=0.0)
            cs = tl.load(c + token * states + n, mask=some, other=0.0)
            ys = tl.load(of_y + token * channels + channel, mask=here, other=0.0)
            before = tl.load(scratch + (row * piece + t) * channels * states + place, mask=inside, other=0.0)
            kept = tl.exp(deltas[:, None] * rates)
            h = kept * before + (deltas * xs)[:, None] * bs[None]
            adjoint += ys[:, None] * cs[None]
            summed = (token * parts + part) * states + n
            tl.store(of_c + summed, tl.sum(h * ys[:, None], 0), mask=some)
            tl.store(of_b + summed, tl.sum(adjoint * (deltas * xs)[:, None], 0), mask=some)
            written = tl.sum(adjoint * bs[None], 1)
            adjoint *= kept
            exponent = adjoint * before
            of_rates += exponent * deltas[:, None]
            tl.store(of_x + token * channels + channel, deltas * written, mask=here)
            of_deltas = xs * written + tl.sum(exponent * rates, 1)
            tl.store(of_delta + token * channels + channel, of_deltas, mask=here)
            if marked:
                adjoint *= 1 - tl.load(starts + token).to(tl.float32)
        tl.debug_barrier()
    tl.store(of_state + row * channels * states + place, adjoint, mask=inside)
    tl.store(of_a + row * channels * states + place, of_rates, mask=inside)


def selective_scan(x, delta, a, b, c, state, starts=None) -> tuple[Tensor, Tensor]:
    """`caselli.ops.selective_scan` of float32 tensors; differentiable once."""
    return _SelectiveScan.apply(x, delta, a, b, c, state, starts)


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, delta, a, b, c, state, starts):
        x, delta, a, b, c, state = (tensor.contiguous() for tensor in (x, delta, a, b, c, state))
        marks = x if starts is None else starts.contiguous()
        y, last = torch.empty_like(x), torch.empty_like(state)
        befores = state.new_empty(len(x), triton.cdiv(x.shape[1], PIECE), *a.shape)
        sizes, grid = _sizes(x, a, starts)
        _forward[grid](x, delta, b, c, a, marks, state, y, befores, last, *sizes)
        ctx.save_for_backward(x, delta, a, b, c, starts, befores)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx, of_y, of_last):
        x, delta, a, b, c, starts, befores = ctx.saved_tensors
        marks = x if starts is None else starts.contiguous()
        sizes, grid = _sizes(x, a, starts)
        of_y, of_last = of_y.contiguous(), of_last.contiguous()
        of_x, of_delta, of_state, of_a = (torch.empty_like(like) for like in (x, x, of_last, of_last))
        of_b, of_c = (b.new_empty(*b.shape[:2], grid[1], b.shape[2]) for _ in range(2))
        scratch = x.new_empty(len(x), PIECE, *a.shape)
        found = (of_x, of_delta, of_b, of_c, of_a, of_state)
        _backward[grid](x, delta, b, c, a, marks, befores, of_y, of_last, *found, scratch, *sizes)
        return of_x, of_delta, of_a.sum(0), of_b.sum(2), of_c.sum(2), of_state, None


def _sizes(x: Tensor, a: Tensor, starts: Tensor | None) -> tuple[tuple, tuple[int, int]]:
    """Sizes that a kernel takes as arguments, and its grid."""
    batch, length, channels = x.shape
    states = a.shape[1]
    sizes = (length, channels, states, starts is not None, PIECE, triton.next_power_of_2(states), BLOCK)
    return sizes, (batch, triton.cdiv(channels, BLOCK))
