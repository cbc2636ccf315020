"""The selective scan: a diagonal state-space model whose step and projections depend on the token."""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from caselli.ops import kernels
from caselli.ops.chunks import exact, faded, forget, no_autocast
from caselli.shapes import Bool, Float, Tensor

PIECE_ELEMENTS = 1 << 18
"""States held at a time: a megabyte of float32, what a core's cache keeps close."""


def selective_scan_step(
    x: Float[Tensor, "B D"],
    delta: Float[Tensor, "B D"],
    a: Float[Tensor, "D S"],
    b: Float[Tensor, "B S"],
    c: Float[Tensor, "B S"],
    state: Float[Tensor, "B D S"],
) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D S"]]:
    """One token of `selective_scan`."""
    state = (delta[..., None] * a).exp() * state + (delta * x)[..., None] * b[:, None]
    return (state @ c[..., None])[..., 0], state


def selective_scan_definition(
    x: Float[Tensor, "B T D"],
    delta: Float[Tensor, "B T D"],
    a: Float[Tensor, "D S"],
    b: Float[Tensor, "B T S"],
    c: Float[Tensor, "B T S"],
    state: Float[Tensor, "B D S"],
) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B D S"]]:
    """`selective_scan` token by token."""
    outputs = []
    for t in range(x.shape[1]):
        y, state = selective_scan_step(x[:, t], delta[:, t], a, b[:, t], c[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def selective_scan(
    x: Float[Tensor, "B T D"],
    delta: Float[Tensor, "B T D"],
    a: Float[Tensor, "D S"],
    b: Float[Tensor, "B T S"],
    c: Float[Tensor, "B T S"],
    state: Float[Tensor, "B D S"],
    *,
    starts: Bool[Tensor, "B T"] | None = None,
) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B D S"]]:
    r"""A diagonal state-space model with input-dependent Δ, B and C.

    .. math:: h_t = e^{\Delta_t A} \odot h_{t-1} + \Delta_t x_t B_t^\top, \qquad y_t = h_t C_t

    A is discretised exactly, B by Euler's rule. The states of all tokens are never held at once: a piece at a
    time goes through the cache, and the gradient computes it again from the state before it. Differentiable
    once.

    Arguments:
        x: inputs of D channels; T ≥ 1.
        delta: Δ > 0, steps.
        a: A < 0, S rates for each channel.
        b, c: into and out of the state.
        state: h_0, at least float32.
        starts: where a packed sequence begins; h is forgotten before that token.

    Returns:
        y in x's dtype, and h_T.

    Source: Gu and Dao 2023, Mamba: Linear-Time Sequence Modeling with Selective State Spaces.

    Example:
        >>> one = torch.ones(1, 2, 1)
        >>> selective_scan(one, one, -one[0, :1], one, one, torch.zeros(1, 1, 1))[0].flatten()
        tensor([1.0000, 1.3679])
    """
    dtype = x.dtype
    with no_autocast(x):
        x, delta, a, b, c, state = (exact(tensor) for tensor in (x, delta, a, b, c, state))
        if x.shape[1] == 1:
            state = forget(state, None if starts is None else starts[:, 0])
            y, state = selective_scan_step(x[:, 0], delta[:, 0], a, b[:, 0], c[:, 0], state)
            return y[:, None].to(dtype), state
        if kernels.suits(x, delta, a, b, c, state):
            from caselli.ops.kernels.selective_scan import selective_scan as fused

            y, state = fused(x, delta, a, b, c, state, starts)
            return y.to(dtype), state
        first = (tensor.transpose(0, 1).contiguous() for tensor in (x, delta, b, c))
        marks = None if starts is None else starts.T
        y, state = _SelectiveScan.apply(*first, a.T.contiguous(), state.mT.contiguous(), marks)
    return y.transpose(0, 1).to(dtype), state.mT


class _SelectiveScan(torch.autograd.Function):
    """Time is the first axis here and channels are the last: the long, even loops of the machine."""

    @staticmethod
    def forward(ctx, x, delta, b, c, a, state, starts):
        size = max(1, min(len(x), PIECE_ELEMENTS // state.numel()))
        y, befores = torch.empty_like(x), []
        for start in range(0, len(x), size):
            piece = slice(start, start + size)
            befores.append(state)
            _, states = _states(x[piece], delta[piece], b[piece], a, state, starts, piece)
            torch.matmul(c[piece, :, None], states, out=y[piece].unsqueeze(2))
            state = states[-1].clone()
        ctx.save_for_backward(x, delta, b, c, a, starts, *befores)
        ctx.size = size
        return y, state

    @staticmethod
    @once_differentiable
    def backward(ctx, y_gradient, state_gradient):
        x, delta, b, c, a, starts, *befores = ctx.saved_tensors
        gradients = tuple(torch.empty_like(tensor) for tensor in (x, delta, b, c))
        a_gradient, adjoint = torch.zeros_like(a), state_gradient
        y_gradient = y_gradient.contiguous()
        for index in reversed(range(len(befores))):
            piece = slice(index * ctx.size, (index + 1) * ctx.size)
            inputs = tuple(tensor[piece] for tensor in (x, delta, b, c))
            outputs = tuple(tensor[piece] for tensor in gradients)
            decay, states = _states(*inputs[:3], a, befores[index], starts, piece)
            adjoint = _piece_gradient(
                inputs, a, befores[index], decay, states, y_gradient[piece], adjoint, outputs, a_gradient
            )
        return *gradients, a_gradient, adjoint, None


def _states(x, delta, b, a, state, starts, piece):
    """The decays and states of a piece, `T B S D`."""
    decay = faded(delta[:, :, None] * a)
    if starts is not None:
        decay.masked_fill_(starts[piece, :, None, None], 0)
    states = (delta * x)[:, :, None] * b[..., None]
    for here, kept in zip(states.unbind(), decay.unbind(), strict=True):
        state = here.addcmul_(kept, state)
    return decay, states


def _piece_gradient(inputs, a, before, decay, states, y_gradient, adjoint, outputs, a_gradient):
    """Fills in a piece's gradients; returns the gradient of the state before it."""
    x, delta, b, c = inputs
    x_gradient, delta_gradient, b_gradient, c_gradient = outputs
    adjoints = y_gradient[:, :, None] * c[..., None]
    adjoints[-1] += adjoint
    later = None
    for here, kept in zip(reversed(adjoints.unbind()), reversed((*decay.unbind()[1:], None)), strict=True):
        later = here if kept is None else here.addcmul_(kept, later)
    products = states * y_gradient[:, :, None]  # a matrix product with one column takes five times as long
    torch.sum(products, 3, out=c_gradient)
    torch.sum(torch.mul(adjoints, (delta * x)[:, :, None], out=products), 3, out=b_gradient)
    written = (b[:, :, None] @ adjoints)[:, :, 0]

    exponents = adjoints.mul_(decay)  # from here on: the gradient of Δ A
    adjoint = exponents[0].clone()
    exponents[1:].mul_(states[:-1])
    exponents[0].mul_(before)
    torch.mul(written, delta, out=x_gradient)
    torch.mul(written, x, out=delta_gradient)
    delta_gradient.add_(torch.mul(exponents, a, out=products).sum(2))
    a_gradient.add_(exponents.mul_(delta[:, :, None]).sum((0, 1)))
    return adjoint
