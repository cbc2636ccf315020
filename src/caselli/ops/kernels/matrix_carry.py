"""The states between chunks of a delta rule, in one kernel: S_c = M_c S_{c−1} + N_c."""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from caselli.ops.kernels.language import jit, tl, triton
from caselli.shapes import Tensor


@jit
def _forward(moves, written, state, states, chunks, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """One matrix and some of its columns, chunk after chunk."""
    matrix = tl.program_id(0).to(tl.int64)
    row, other = tl.arange(0, ROWS)[:, None], tl.arange(0, ROWS)[None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None]
    square, inside = (row < rows) & (other < rows), (row < rows) & (column < columns)
    move, place = row * rows + other, row * columns + column
    held = tl.load(state + matrix * rows * columns + place, mask=inside, other=0.0)
    for step in range(chunks):
        chunk = matrix * chunks + step
        m = tl.load(moves + chunk * rows * rows + move, mask=square, other=0.0)
        more = tl.load(written + chunk * rows * columns + place, mask=inside, other=0.0)
        held = tl.dot(m, held, input_precision="ieee") + more
        tl.store(states + chunk * rows * columns + place, held, mask=inside)


@jit
def _backward(
    moves, gradients, adjoints, of_state, chunks, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """The adjoint, from the last chunk to the first."""
    matrix = tl.program_id(0).to(tl.int64)
    row, other = tl.arange(0, ROWS)[:, None], tl.arange(0, ROWS)[None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None]
    square, inside = (row < rows) & (other < rows), (row < rows) & (column < columns)
    turned, place = other * rows + row, row * columns + column
    held = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for step in range(chunks):
        chunk = matrix * chunks + chunks - 1 - step
        held += tl.load(gradients + chunk * rows * columns + place, mask=inside, other=0.0)
        tl.store(adjoints + chunk * rows * columns + place, held, mask=inside)
        m = tl.load(moves + chunk * rows * rows + turned, mask=square, other=0.0)
        held = tl.dot(m, held, input_precision="ieee")
    tl.store(of_state + matrix * rows * columns + place, held, mask=inside)


def matrix_carry(moves: Tensor, written: Tensor, state: Tensor) -> Tensor:
    """The states after each chunk: M `A n d d`, N `A n d v`, S_0 `A d v`; differentiable once."""
    return _MatrixCarry.apply(moves, written, state)


class _MatrixCarry(torch.autograd.Function):
    @staticmethod
    def forward(ctx, moves, written, state):
        moves, written, state = (x.contiguous() for x in (moves, written, state))
        states = torch.empty_like(written)
        grid, sizes = _sizes(written)
        _forward[grid](moves, written, state, states, *sizes)
        ctx.save_for_backward(moves, state, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        moves, state, states = ctx.saved_tensors
        gradient = gradient.contiguous()
        adjoints, of_state = torch.empty_like(gradient), torch.empty_like(state)
        grid, sizes = _sizes(gradient)
        _backward[grid](moves, gradient, adjoints, of_state, *sizes)
        before = torch.cat((state[:, None], states[:, :-1]), 1)
        return adjoints @ before.mT, adjoints, of_state


def _sizes(written: Tensor) -> tuple[tuple[int, int], tuple[int, ...]]:
    """The grid, and the sizes that a kernel is told."""
    matrices, chunks, rows, columns = written.shape
    block = max(16, min(32, triton.next_power_of_2(columns)))
    return (matrices, triton.cdiv(columns, block)), (
        chunks,
        rows,
        columns,
        max(16, triton.next_power_of_2(rows)),
        block,
    )
