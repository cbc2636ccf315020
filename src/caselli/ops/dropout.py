"""Dropout by bits: one random word a number, as wide as the number."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from caselli.shapes import Float, Int, Tensor

WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers as wide as a number of so many bytes."""


def dropout(x: Float[Tensor, "*A"], share: float) -> Float[Tensor, "*A"]:
    r"""Each number becomes 0 with probability p, else it grows, so that the mean stays.

    .. math:: y_i = \frac{b_i\, x_i}{1 - p}, \qquad b_i \sim \mathrm{Bernoulli}(1 - p)

    On a CPU 64 random bits are cut into words as wide as the numbers, and the numbers' bits are masked: a
    quarter of the time of `torch.nn.functional.dropout` in half precision. p is then the nearest multiple of
    2⁻¹⁵.

    Arguments:
        x: any numbers.
        share: p, in [0, 1).

    Source: Srivastava et al. 2014, Dropout: A Simple Way to Prevent Neural Networks from Overfitting.

    Example:
        >>> set(dropout(torch.ones(4), 0.5).tolist()) <= {0.0, 2.0}
        True
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, share)
    steps = 1 << 15
    dropped = min(round(share * steps), steps - 1)
    size = x.element_size()
    random = torch.empty(-(-x.numel() * size // 8), dtype=torch.int64).random_(-(2**63), None)
    words = random.view(WORDS[size])[: x.numel()].view(x.shape)
    shift = 8 * size - 16
    # the sign of a difference, drawn out over the whole word: −1 where dropped, 0 where kept
    sign = ((words >> shift) & (steps - 1)).sub_(dropped) >> (8 * size - 1)
    return _Masked.apply(x, ~sign, steps / (steps - dropped))


class _Masked(torch.autograd.Function):
    """Numbers whose bits are masked, times a factor."""

    @staticmethod
    def forward(ctx, x: Float[Tensor, "*A"], mask: Int[Tensor, "*A"], factor: float) -> Float[Tensor, "*A"]:
        ctx.save_for_backward(mask)
        ctx.factor = factor
        return (x.contiguous().view(mask.dtype) & mask).view(x.dtype).mul_(factor)

    @staticmethod
    def backward(ctx, gradient):
        return _Masked.apply(gradient, *ctx.saved_tensors, ctx.factor), None, None
