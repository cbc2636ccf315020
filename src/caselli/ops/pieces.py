"""Long sequences in pieces: the memory of one piece, not of all, and a gradient that computes each again."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch.autograd.function import once_differentiable

from caselli.ops.chunks import bounded_log_decay, exact, forget, no_autocast
from caselli.shapes import Bool, Tensor

PIECE_ELEMENTS = 1 << 20
"""Output elements of a piece: its tensors stay small enough that the allocator keeps them."""
CACHED_ELEMENTS = 1 << 17
"""Output elements of a piece on a processor when the gradient is by hand: its tensors stay in the cache."""
LONG = 1 << 22
"""Output elements from which on memory costs more than computing again; and those of a piece on a device."""


def in_pieces(
    compute: Callable[..., tuple[Tensor, Tensor]],
    timed: tuple[Tensor, ...],
    state: Tensor,
    starts: Bool[Tensor, "B T"] | None,
    size: int,
    *,
    shared: tuple[Tensor, ...] = (),
    gradient: Callable[..., tuple[Tensor, ...]] | None = None,
) -> tuple[Tensor, Tensor]:
    """`compute(*timed, state, *shared, starts=starts) -> (y, state)`, piece by piece.

    Large tensors come from the operating system page by page, each time anew; that makes four times the
    length cost eight times the time. With a gradient by hand the pieces are small ones, and the result is
    differentiable once. Without, short sequences are computed at once, and only these are twice
    differentiable.

    Arguments:
        compute: a causal recurrence, differentiable if there is no gradient by hand.
        timed: inputs `B T …`; the third one tells how large a piece is.
        state: what is carried.
        starts: where packed sequences begin.
        size: pieces are a multiple of it.
        shared: inputs without time.
        gradient: `gradient(*timed, state, *shared, outputs=(y, gradient of y, gradient of the state),
            starts=starts)`, the gradients of its inputs in their order.

    Example:
        >>> x = torch.ones(1, 4, 1)
        >>> add = lambda x, _, z, state, *, starts: (x.cumsum(1) + state, state + x.sum(1))
        >>> in_pieces(add, (x, x, x), torch.zeros(1, 1), None, 2)[0].flatten()
        tensor([1., 2., 3., 4.])
    """
    elements, length = timed[2].numel(), timed[2].shape[1]
    if gradient is None and elements < LONG:
        return compute(*timed, state, *shared, starts=starts)
    most = (CACHED_ELEMENTS if gradient is not None else PIECE_ELEMENTS) if state.is_cpu else LONG
    piece = max(1, most * length // elements // size) * size
    if gradient is None:
        gradient = _Again(compute, len(timed))
    return _Pieces.apply(compute, gradient, piece, starts, len(timed), *timed, state, *shared)


def recurrence(
    step: Callable[..., tuple[Tensor, Tensor]],
    chunked: Callable[..., tuple[Tensor, Tensor]],
    inputs: tuple[Tensor, ...],
    log_decay: Tensor,
    state: Tensor,
    starts: Bool[Tensor, "B T"] | None,
    size: int,
) -> tuple[Tensor, Tensor]:
    """Outputs and last state of a recurrence whose state decays: by its step for one token, else in chunks.

    Arguments:
        step: `step(*inputs, log_decay, state) -> (y, state)` of one token, without the axis T.
        chunked: `chunked(*inputs, log_decay, state, starts=starts, size=size) -> (y, state)`.
        inputs: `B T …`, the third one with the outputs' dtype.
        log_decay: `B T …`, g ≤ 0.
        state: what is carried.
        starts: where packed sequences begin.
        size: tokens of a chunk.

    Example:
        >>> add = lambda x, _, z, g, state, **_size: (state + z, state + z)
        >>> one = torch.ones(1, 1, 1)
        >>> recurrence(add, add, (one, one, one), one, torch.zeros(1, 1), None, 1)[0]
        tensor([[[1.]]])
    """
    dtype = inputs[2].dtype
    with no_autocast(state):
        *inputs, state = (exact(x) for x in (*inputs, state))
        inputs = (*inputs, bounded_log_decay(log_decay).to(inputs[2].dtype))
        if inputs[2].shape[1] == 1:
            state = forget(state, None if starts is None else starts[:, 0])
            y, state = step(*(x[:, 0] for x in inputs), state)
            y = y[:, None]
        else:
            y, state = in_pieces(functools.partial(chunked, size=size), inputs, state, starts, size)
    return y.to(dtype), state


class _Again:
    """The gradient by computing again, with a graph."""

    def __init__(self, compute: Callable, count: int) -> None:
        self.compute, self.count = compute, count

    def __call__(self, *inputs, outputs, starts):
        inputs = [x.detach().requires_grad_() for x in inputs]
        with torch.enable_grad():
            results = self.compute(*inputs, starts=starts)
        return torch.autograd.grad(results, inputs, outputs[1:])


class _Pieces(torch.autograd.Function):
    @staticmethod
    def forward(ctx, compute, gradient, size, starts, count, *tensors):
        timed, state, shared = tensors[:count], tensors[count], tensors[count + 1 :]
        length, befores, y = timed[2].shape[1], [], None
        for piece in _slices(length, size):
            befores.append(state)
            marks = None if starts is None else starts[:, piece]
            part, state = compute(*(x[:, piece] for x in timed), state, *shared, starts=marks)
            if y is None:
                y = part.new_empty(len(part), length, *part.shape[2:])
            y[:, piece] = part
        ctx.save_for_backward(starts, y, *timed, *shared, *befores)
        ctx.gradient, ctx.size, ctx.counts = gradient, size, (count, len(shared))
        return y, state

    @staticmethod
    @once_differentiable
    def backward(ctx, y_gradient, state_gradient):
        starts, y, *tensors = ctx.saved_tensors
        count, others = ctx.counts
        timed, shared, befores = tensors[:count], tensors[count : count + others], tensors[count + others :]
        gradients = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in timed]
        totals = [torch.zeros_like(x) for x in shared]
        pieces = _slices(y.shape[1], ctx.size)
        for piece, before in reversed(list(zip(pieces, befores, strict=True))):
            marks = None if starts is None else starts[:, piece]
            outputs = (y[:, piece], y_gradient[:, piece], state_gradient)
            inputs = (*(x[:, piece] for x in timed), before, *shared)
            found = ctx.gradient(*inputs, outputs=outputs, starts=marks)
            for whole, part in zip(gradients, found[:count], strict=True):
                whole[:, piece] = part
            state_gradient = found[count]
            for total, part in zip(totals, found[count + 1 :], strict=True):
                total.add_(part)
        return None, None, None, None, None, *gradients, state_gradient, *totals


def _slices(length: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, length, size)]
