"""Matrix products in float32 by the faster of the CPU's two libraries."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
import torch.nn.functional as F

from caselli.shapes import Float, Tensor

LEAST_WORK = 1 << 22
"""Multiplications of a product below which the call costs more than is gained."""


@functools.cache
def onednn_is_faster() -> bool:
    """Whether float32 products are to go to oneDNN: on AMD's processors MKL takes half of the speed.

    Known from the processor, not measured: the same machine always rounds alike.

    Example:
        >>> onednn_is_faster() in (True, False)
        True
    """
    processor = Path("/proc/cpuinfo")
    there = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()
    return there and processor.exists() and "AuthenticAMD" in processor.read_text()


def linear(
    x: Float[Tensor, "*A D"], weight: Float[Tensor, "E D"], bias: Float[Tensor, "E"] | None = None
) -> Float[Tensor, "*A E"]:
    r"""A linear layer.

    .. math:: y = x W^\top + b

    As `torch.nn.functional.linear`, and twice the speed for float32 on processors where
    `onednn_is_faster`, forwards and backwards; differentiable any number of times.

    Arguments:
        x: any leading axes.
        weight, bias: as of `torch.nn.Linear`.

    Example:
        >>> linear(torch.ones(2, 3), torch.ones(4, 3), torch.ones(4))[0]
        tensor([4., 4., 4., 4.])
    """
    rows = x.numel() // max(1, x.shape[-1])
    if _suits(x, weight, rows * weight.numel()):
        y = _Product.apply(x.reshape(rows, -1), weight, bias)
        return y.view(*x.shape[:-1], -1)
    return F.linear(x, weight, bias)


def products(a: Float[Tensor, "n p d"], b: Float[Tensor, "n q d"]) -> Float[Tensor, "n p q"]:
    """a bᵀ of each pair, by the same choice as `linear`.

    Example:
        >>> products(torch.ones(1, 2, 3), torch.ones(1, 4, 3)).shape
        torch.Size([1, 2, 4])
    """
    if _suits(a, b, a[0].numel() * b.shape[1]):
        return _Products.apply(a, b)
    return torch.bmm(a, b.mT)


def products_into(
    a: Float[Tensor, "n p d"], b: Float[Tensor, "n q d"], out: Float[Tensor, "n p q"]
) -> Float[Tensor, "n p q"]:
    """`products`, without a graph, in the place of `out`; each leaves the cache only once.

    Example:
        >>> products_into(torch.ones(1, 2, 3), torch.ones(1, 4, 3), torch.empty(1, 2, 4)).shape
        torch.Size([1, 2, 4])
    """
    if not _suits(a, b, a[0].numel() * b.shape[1]):
        return out.copy_(torch.bmm(a, b.mT))
    for x, y, place in zip(a, b, out, strict=True):
        place.copy_(_onednn(x, y, None))
    return out


def add_products(
    a: Float[Tensor, "n p d"], b: Float[Tensor, "n q d"], to: Float[Tensor, "n p q"]
) -> Float[Tensor, "n p q"]:
    """Adds `products` to what is there, without a graph.

    Example:
        >>> add_products(torch.ones(1, 2, 3), torch.ones(1, 1, 3), torch.ones(1, 2, 1)).flatten()
        tensor([4., 4.])
    """
    if not _suits(a, b, a[0].numel() * b.shape[1]):
        return to.add_(torch.bmm(a, b.mT))
    for x, y, place in zip(a, b, to, strict=True):
        place.add_(_onednn(x, y, None))
    return to


def _suits(a: Tensor, b: Tensor, work: int) -> bool:
    plain = a.is_cpu and a.dtype == b.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and work >= LEAST_WORK and onednn_is_faster()


def _onednn(a: Tensor, b: Tensor, c: Tensor | None) -> Tensor:
    if not (b.is_contiguous() or b.t().is_contiguous()):
        b = b.contiguous()  # a thousand times slower where rows of b have gaps between them
    return torch.ops.mkldnn._linear_pointwise(a, b, c, "none", [], "")


class _Product(torch.autograd.Function):
    """a bᵀ + c; its gradients are such products again."""

    @staticmethod
    def forward(ctx, a, b, c):
        ctx.save_for_backward(a, b)
        return _onednn(a, b, c)

    @staticmethod
    def backward(ctx, gradient):
        a, b = ctx.saved_tensors
        of_a = of_b = of_c = None
        if ctx.needs_input_grad[0]:
            of_a = _Product.apply(gradient, b.t(), None)
        if ctx.needs_input_grad[1]:
            of_b = _across(gradient, a)
        if ctx.needs_input_grad[2]:
            of_c = gradient.sum(0)
        return of_a, of_b, of_c


def _across(gradient: Tensor, a: Tensor) -> Tensor:
    """gradientᵀ a; the library copies its first factor if it is transposed, so the smaller one goes there."""
    if gradient.shape[1] > a.shape[1]:
        return _Product.apply(a.t(), gradient.t(), None).t()
    return _Product.apply(gradient.t(), a.t(), None)


class _Products(torch.autograd.Function):
    """a bᵀ of each pair; its gradients are such products again."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return products_into(a, b, a.new_empty(len(a), a.shape[1], b.shape[1]))

    @staticmethod
    def backward(ctx, gradient):
        a, b = ctx.saved_tensors
        of_a = products(gradient, b.mT) if ctx.needs_input_grad[0] else None
        of_b = products(gradient.mT, a.mT) if ctx.needs_input_grad[1] else None
        return of_a, of_b
