"""The elementwise linear recurrence, real or complex."""

from __future__ import annotations

import math

import torch

from caselli.ops.pairs import as_complex, as_real, pair_product
from caselli.shapes import Complex, Float, Shaped, Tensor

SMALL_ROW = 2048
"""Below this many elements a token, the cost is in launching the steps: fewer and larger ones are taken."""


def scan_definition(
    decay: Shaped[Tensor, "*_"], value: Shaped[Tensor, "B T *S"], state: Shaped[Tensor, "B *S"]
) -> Shaped[Tensor, "B T *S"]:
    """h_t = a_t h_{t−1} + b_t, token by token."""
    states = []
    for a, b in zip(decay.unbind(1), value.unbind(1), strict=True):
        state = a * state + b
        states.append(state)
    return torch.stack(states, 1)


def scan(
    decay: Shaped[Tensor, "*_"], value: Shaped[Tensor, "B T *S"], state: Shaped[Tensor, "B *S"]
) -> Shaped[Tensor, "B T *S"]:
    r"""The states of a diagonal linear recurrence, all of them.

    .. math:: h_t = a_t \odot h_{t-1} + b_t

    Linear in T in time and memory, forwards and backwards, and twice differentiable. A sequence begins anew
    where a_t = 0.

    Arguments:
        decay: a, shaped as b or with axes of size one, but not the second; real, or complex as b is.
        value: b; T ≥ 1.
        state: h_0.

    Returns:
        h_1 … h_T.

    Source: Blelloch 1990, Prefix Sums and Their Applications (the folded form for small rows).

    Example:
        >>> scan(torch.full((1, 3), 0.5), torch.ones(1, 3), torch.zeros(1))
        tensor([[1.0000, 1.5000, 1.7500]])
    """
    decay, state = decay.to(value.dtype), state.to(value.dtype)
    if value.shape[1] == 1:  # also simpler to trace
        return torch.addcmul(value, decay, state[:, None])
    return _Scan.apply(decay, value, state, False)


def scan_pairs(
    decay: Complex[Tensor, "*_"], value: Float[Tensor, "B T *S"], state: Float[Tensor, "B *S"]
) -> Float[Tensor, "B T *S"]:
    """`scan` of complex numbers, of which b and h are real parts, then imaginary parts, on the last axis.

    Example:
        >>> scan_pairs(torch.full((1, 2, 1), 1j), torch.zeros(1, 2, 2), torch.tensor([[1.0, 0.0]]))
        tensor([[[ 0.,  1.],
                 [-1.,  0.]]])
    """
    if value.shape[1] == 1:
        return value + pair_product(as_real(decay), state[:, None])
    return as_real(scan(decay, as_complex(value), as_complex(state)))


class _Scan(torch.autograd.Function):
    """Autograd over a loop keeps a graph of T nodes; the adjoint of a scan is the reversed scan."""

    @staticmethod
    def forward(ctx, decay, value, state, reverse):
        states = _run(decay, value, state, reverse)
        ctx.save_for_backward(decay, states, state)
        ctx.reverse = reverse
        return states

    @staticmethod
    def backward(ctx, gradient):
        decay, states, state = ctx.saved_tensors
        reverse = ctx.reverse
        first = -1 if reverse else 0
        conjugate = decay.conj().resolve_conj()
        adjoint = _Scan.apply(
            _shift(conjugate, conjugate[:, first], not reverse),
            gradient,
            torch.zeros_like(state),
            not reverse,
        )
        decay_gradient = None
        if ctx.needs_input_grad[0]:
            previous = _shift(states, state, reverse)
            decay_gradient = (adjoint * previous.conj()).sum_to_size(decay.shape)
        state_gradient = conjugate[:, first] * adjoint[:, first] if ctx.needs_input_grad[2] else None
        return decay_gradient, adjoint, state_gradient, None


def _shift(x: Tensor, filler: Tensor, backwards: bool) -> Tensor:
    """x one token later (or, backwards, one earlier), with the filler in the free place."""
    if backwards:
        return torch.cat((x[:, 1:], filler[:, None]), 1)
    return torch.cat((filler[:, None], x[:, :-1]), 1)


def _run(decay: Tensor, value: Tensor, state: Tensor, reverse: bool) -> Tensor:
    length = value.shape[1]
    if length > 64 and state.numel() < SMALL_ROW:
        if reverse:
            return _run_folded(decay.flip(1), value.flip(1), state).flip(1)
        return _run_folded(decay, value, state)
    states = torch.empty_like(value, memory_format=torch.contiguous_format)
    steps = zip(decay.unbind(1), value.unbind(1), states.unbind(1), strict=True)
    for a, b, out in reversed(list(steps)) if reverse else steps:
        state = torch.addcmul(b, a.expand_as(b), state, out=out)
    return states


def _run_folded(decay: Tensor, value: Tensor, state: Tensor) -> Tensor:
    """√T chunks in lock step, then a scan over the chunks: 3√T steps instead of T."""
    batch, length, *shape = value.shape
    size = math.isqrt(length)
    missing = -length % size
    chunks = (length + missing) // size

    def fold(x, filler):
        x = x.expand(batch, *x.shape[1:])
        if missing:
            x = torch.cat((x, x.new_full((batch, missing, *x.shape[2:]), filler)), 1)
        return x.reshape(batch * chunks, size, *x.shape[2:])

    decay, value = fold(decay, 1), fold(value, 0)
    local = _run(decay, value, torch.zeros_like(value[:, 0]), False)
    kept = decay.cumprod(1)
    ends, passed = (x[:, -1].view(batch, chunks, *x.shape[2:]) for x in (local, kept))
    carried = _run(passed, ends, state, False)
    entering = _shift(carried, state, False).flatten(0, 1)[:, None]
    return torch.addcmul(local, kept, entering).view(batch, -1, *shape)[:, :length]
