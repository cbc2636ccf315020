"""The cost of a code in nats, from logits over all codes, in pieces that stay in a core's cache."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from caselli.shapes import Float, Int, Tensor

PIECE = 1 << 16
"""Logits of a piece: a quarter of a megabyte in float32."""


def cross_entropy(logits: Float[Tensor, "n K"], codes: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
    r"""Each code's cost in nats.

    .. math:: -\log p_i = \log \sum_k e^{l_{ik}} - l_{i c_i}

    As `torch.nn.functional.cross_entropy` without a reduction. Where gradients are asked for on a CPU, logits
    are gone through in pieces and nothing but them and n sums is kept: the probabilities are made again in
    the backward pass, in the place of the gradient.

    Arguments:
        logits: of all K codes.
        codes: 0 … K − 1.

    Example:
        >>> cross_entropy(torch.zeros(1, 2), torch.tensor([1])).exp()
        tensor([2.])
    """
    pieced = logits.device.type == "cpu" and logits.requires_grad and torch.is_grad_enabled()
    if not pieced or torch.compiler.is_compiling():
        return F.cross_entropy(_widened(logits), codes, reduction="none")
    return _Cost.apply(logits, codes)


class _Cost(torch.autograd.Function):
    """The cost, piece by piece."""

    @staticmethod
    def forward(ctx, logits, codes):
        rows = max(1, PIECE // logits.shape[1])
        total = torch.cat([_widened(piece).logsumexp(1) for piece in logits.split(rows)])
        ctx.save_for_backward(logits, codes, total)
        return total - logits.gather(1, codes[:, None])[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx, slope):
        logits, codes, total = ctx.saved_tensors
        rows, gradient = max(1, PIECE // logits.shape[1]), torch.empty_like(logits)
        parts = (x.split(rows) for x in (gradient, logits, total[:, None], slope[:, None], codes[:, None]))
        for out, piece, sums, own, which in zip(*parts, strict=True):
            place = out if out.dtype == sums.dtype else torch.empty_like(out, dtype=sums.dtype)
            torch.sub(piece, sums, out=place).exp_().mul_(own).scatter_add_(1, which, -own)
            if place is not out:
                out.copy_(place)
        return gradient, None


def _widened(x: Tensor) -> Tensor:
    """At least float32."""
    return x if x.dtype == torch.float64 else x.float()
