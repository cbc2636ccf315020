"""The short causal convolution that goes before many recurrences."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from caselli.shapes import Bool, Float, Tensor

ROWS = 256
"""Tokens that are convolved at a time: they stay in the cache from the first weight to the activation."""


def short_convolution_definition(
    x: Float[Tensor, "B T D"],
    weight: Float[Tensor, "D W"],
    bias: Float[Tensor, "D"],
    state: Float[Tensor, "B past D"],
) -> Float[Tensor, "B T D"]:
    """`short_convolution` token by token."""
    width = weight.shape[1]
    padded = torch.cat((state, x), 1)
    sums = [bias + (padded[:, t : t + width] * weight.T).sum(1) for t in range(x.shape[1])]
    return F.silu(torch.stack(sums, 1))


def short_convolution(
    x: Float[Tensor, "B T D"],
    weight: Float[Tensor, "D W"],
    state: Float[Tensor, "B past D"],
    *,
    bias: Float[Tensor, "D"] | None = None,
    starts: Bool[Tensor, "B T"] | None = None,
) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B past D"]]:
    r"""A causal convolution of each channel with its own few weights, and SiLU; differentiable once.

    .. math:: y_t = \mathrm{silu}\Big(b + \sum_{j=1}^{W} w_j \odot x_{t-W+j}\Big)

    Arguments:
        x: inputs.
        weight: W weights a channel, the last one for the current token.
        state: the last W − 1 inputs; zeros before the first.
        bias: b.
        starts: where a packed sequence begins; earlier inputs are zero to it.

    Returns:
        y, and the last W − 1 inputs.

    Example:
        >>> x = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1)
        >>> y, state = short_convolution(x, torch.tensor([[10.0, 1.0]]), torch.zeros(1, 1, 1))
        >>> y.flatten().round(), state.flatten()
        (tensor([ 1., 12., 23.]), tensor([3.]))
    """
    past, seen, state = weight.shape[1] - 1, None, state.to(x.dtype)
    last = torch.cat((state, x[:, -past:] if past else x[:, :0]), 1)
    last = last[:, last.shape[1] - past :]
    if starts is not None:
        begun = F.pad(starts.cumsum(1), (past, 0))
        seen = begun.unfold(1, past + 1, 1) == begun[:, past:, None]
        last = last * (begun[:, x.shape[1] :] == begun[:, -1:])[..., None]
    return _ShortConvolution.apply(x, weight, bias, state, seen), last


class _ShortConvolution(torch.autograd.Function):
    """In place and block by block; the sums before the activation are computed again, not kept."""

    @staticmethod
    def forward(ctx, x, weight, bias, state, seen):
        ctx.save_for_backward(x, weight, bias, state, seen)
        y = x.new_empty(x.shape, dtype=torch.promote_types(x.dtype, weight.dtype))
        weights = weight.t().contiguous()  # six times as fast as with gaps between the channels
        for rows in _blocks(x.shape[1]):
            F.silu(_sums(_taps(x, state, seen, rows, len(weights)), weights, bias, y[:, rows]), inplace=True)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, weight, bias, state, seen = ctx.saved_tensors
        weights, past = weight.t().contiguous(), weight.shape[1] - 1
        of_padded = gradient.new_zeros(len(x), x.shape[1] + past, x.shape[2])
        of_weights, of_bias = torch.zeros_like(weights), torch.zeros_like(weights[0])
        for rows in _blocks(x.shape[1]):
            taps, part = _taps(x, state, seen, rows, len(weights)), gradient[:, rows]
            part = torch.ops.aten.silu_backward(part, _sums(taps, weights, bias, torch.empty_like(part)))
            of_bias += part.sum((0, 1))
            for lag, (tap, w) in enumerate(zip(taps, weights, strict=True)):
                of_weights[lag] += (part * tap).sum((0, 1))
                visible = part if seen is None else part * seen[:, rows, lag, None]
                of_padded[:, rows.start + lag : rows.stop + lag].addcmul_(visible, w)
        of_x, of_state = of_padded[:, past:].to(x.dtype), of_padded[:, :past].to(state.dtype)
        return of_x, of_weights.t(), None if bias is None else of_bias, of_state, None


def _blocks(length: int) -> list[slice]:
    return [slice(start, min(start + ROWS, length)) for start in range(0, length, ROWS)]


def _taps(x: Tensor, state: Tensor, seen: Tensor | None, rows: slice, width: int) -> list[Tensor]:
    """Inputs that each weight of the convolution multiplies in a block of tokens."""
    past, length = width - 1, rows.stop - rows.start
    if rows.start < past:
        window = torch.cat((state[:, rows.start :], x[:, : rows.stop]), 1)
    else:
        window = x[:, rows.start - past : rows.stop]
    taps = [window[:, lag : lag + length] for lag in range(width)]
    return taps if seen is None else [tap * seen[:, rows, lag, None] for lag, tap in enumerate(taps)]


def _sums(taps: list[Tensor], weights: Tensor, bias: Tensor | None, into: Tensor) -> Tensor:
    """b + Σ w x, in the place of `into`."""
    torch.mul(taps[0], weights[0], out=into)
    for tap, w in zip(taps[1:], weights[1:], strict=True):
        into.addcmul_(tap, w)
    return into if bias is None else into.add_(bias)


def token_shift(
    x: Float[Tensor, "B T D"], state: Float[Tensor, "B D"], starts: Bool[Tensor, "B T"] | None = None
) -> Float[Tensor, "B T D"]:
    """The token before each; `state` before the first, zero where a sequence begins.

    Source: Peng et al. 2023, RWKV: Reinventing RNNs for the Transformer Era.

    Example:
        >>> token_shift(torch.tensor([[[1.0], [2.0]]]), torch.zeros(1, 1)).flatten()
        tensor([0., 1.])
    """
    shifted = torch.cat((state[:, None].to(x.dtype), x[:, :-1]), 1)
    return shifted if starts is None else shifted.masked_fill(starts[..., None], 0)
