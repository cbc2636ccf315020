"""Long sequences in pieces: the memory of one piece, not of all, and a gradient that computes each again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.autograd.function import once_differentiable

from caselli.shapes import Bool, Tensor

PIECE_ELEMENTS = 1 << 20
"""Output elements of a piece: its tensors stay small enough that the allocator keeps them."""
LONG = 1 << 22
"""Output elements from which on memory costs more than computing again."""


def in_pieces(
    compute: Callable[..., tuple[Tensor, Tensor]],
    timed: tuple[Tensor, ...],
    state: Tensor,
    starts: Bool[Tensor, "B T"] | None,
    size: int,
    *,
    shared: tuple[Tensor, ...] = (),
) -> tuple[Tensor, Tensor]:
    """`compute(*timed, state, *shared, starts=starts) -> (y, state)`, piece by piece when it is long.

    Large tensors come from the operating system page by page, each time anew; that makes four times the
    length cost eight times the time. Short sequences are computed at once, and only these are twice
    differentiable.

    Arguments:
        compute: a causal recurrence, differentiable.
        timed: inputs `B T …`; the third one is shaped as y.
        state: what is carried.
        starts: where packed sequences begin.
        size: pieces are a multiple of it.
        shared: inputs without time.

    Example:
        >>> x = torch.ones(1, 4, 1)
        >>> add = lambda x, _, z, state, *, starts: (x.cumsum(1) + state, state + x.sum(1))
        >>> in_pieces(add, (x, x, x), torch.zeros(1, 1), None, 2)[0].flatten()
        tensor([1., 2., 3., 4.])
    """
    elements = timed[2].numel()
    if elements < LONG:
        return compute(*timed, state, *shared, starts=starts)
    length = timed[2].shape[1]
    piece = max(1, PIECE_ELEMENTS * length // elements // size) * size
    return _Pieces.apply(compute, piece, starts, len(timed), *timed, state, *shared)


class _Pieces(torch.autograd.Function):
    @staticmethod
    def forward(ctx, compute, size, starts, count, *tensors):
        timed, state, shared = tensors[:count], tensors[count], tensors[count + 1 :]
        y, befores = torch.empty_like(timed[2], memory_format=torch.contiguous_format), []
        for piece in _slices(y.shape[1], size):
            befores.append(state)
            marks = None if starts is None else starts[:, piece]
            y[:, piece], state = compute(*(x[:, piece] for x in timed), state, *shared, starts=marks)
        ctx.save_for_backward(starts, *timed, *shared, *befores)
        ctx.compute, ctx.size, ctx.counts = compute, size, (count, len(shared))
        return y, state

    @staticmethod
    @once_differentiable
    def backward(ctx, y_gradient, state_gradient):
        starts, *tensors = ctx.saved_tensors
        count, others = ctx.counts
        timed, shared, befores = tensors[:count], tensors[count : count + others], tensors[count + others :]
        gradients = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in timed]
        totals = [torch.zeros_like(x) for x in shared]
        pieces = _slices(y_gradient.shape[1], ctx.size)
        for piece, before in reversed(list(zip(pieces, befores, strict=True))):
            parts = [x[:, piece].detach().requires_grad_() for x in timed]
            inputs = [
                *parts,
                before.detach().requires_grad_(),
                *(x.detach().requires_grad_() for x in shared),
            ]
            with torch.enable_grad():
                marks = None if starts is None else starts[:, piece]
                outputs = ctx.compute(*inputs, starts=marks)
            found = torch.autograd.grad(outputs, inputs, (y_gradient[:, piece], state_gradient))
            for whole, part in zip(gradients, found[:count], strict=True):
                whole[:, piece] = part
            state_gradient = found[count]
            for total, part in zip(totals, found[count + 1 :], strict=True):
                total.add_(part)
        return None, None, None, None, *gradients, state_gradient, *totals


def _slices(length: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, length, size)]
