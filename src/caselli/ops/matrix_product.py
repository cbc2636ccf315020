"""Matrix products in float32 by the faster of the CPU's two libraries."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from caselli.private import has_onednn_linear, onednn_linear
from caselli.shapes import Float, Tensor

LEAST_WORK = 1 << 22
"""Multiplications of a product below which the call costs more than is gained."""

LARGE = 1 << 18
"""Elements of a factor from which on its layout decides."""


@functools.cache
def onednn_is_faster() -> bool:
    """True where oneDNN multiplies float32 faster than MKL: on AMD's processors (MKL: half speed).

    Known from the processor, not measured: the same machine always rounds alike.

    Example:
        >>> onednn_is_faster() in (True, False)
        True
    """
    processor = Path("/proc/cpuinfo")
    there = has_onednn_linear()
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
        product = _Product.apply if torch.is_grad_enabled() else _onednn
        y = product(x.reshape(rows, -1), weight, bias)
        return y.view(*x.shape[:-1], -1)
    return F.linear(x, weight, bias)


def linear_parts(
    x: Float[Tensor, "*A D"],
    weight: Float[Tensor, "E D"],
    bias: Float[Tensor, "E"] | None,
    sizes: Sequence[int],
) -> list[Float[Tensor, "*A part"]]:
    """`linear` in parts, each in a stretch of memory of its own; differentiable once.

    A slice of one output would be copied by what follows, and so would its gradient.

    Example:
        >>> first, second = linear_parts(torch.ones(2, 3), torch.ones(4, 3), None, (1, 3))
        >>> second[0]
        tensor([3., 3., 3.])
    """
    rows = x.numel() // max(1, x.shape[-1])
    if _suits(x, weight, rows * weight.numel()):
        parts = _Parts.apply(x.reshape(rows, -1), weight, bias, tuple(sizes))
        return [part.view(*x.shape[:-1], -1) for part in parts]
    biases = [None] * len(sizes) if bias is None else bias.split(sizes)
    return [F.linear(x, w, b) for w, b in zip(weight.split(sizes), biases, strict=True)]


def products(a: Float[Tensor, "n p d"], b: Float[Tensor, "n q d"]) -> Float[Tensor, "n p q"]:
    """a bᵀ of each pair, by the same choice as `linear`.

    Example:
        >>> products(torch.ones(1, 2, 3), torch.ones(1, 4, 3)).shape
        torch.Size([1, 2, 4])
    """
    if _pairs_suit(a, b):
        return _Products.apply(a, b) if torch.is_grad_enabled() else _each(a, b)
    return torch.bmm(a, b.mT)


def products_into(
    a: Float[Tensor, "n p d"], b: Float[Tensor, "n q d"], out: Float[Tensor, "n p q"]
) -> Float[Tensor, "n p q"]:
    """`products`, without a graph, in the place of `out`; each leaves the cache only once.

    Example:
        >>> products_into(torch.ones(1, 2, 3), torch.ones(1, 4, 3), torch.empty(1, 2, 4)).shape
        torch.Size([1, 2, 4])
    """
    if not _pairs_suit(a, b):
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
    if not _pairs_suit(a, b):
        return to.add_(torch.bmm(a, b.mT))
    for x, y, place in zip(a, b, to, strict=True):
        place.add_(_onednn(x, y, None))
    return to


def _suits(a: Tensor, b: Tensor, work: int) -> bool:
    if torch.compiler.is_exporting():  # a graph is for any number of rows, and for any processor
        return False
    plain = a.is_cpu and a.dtype == b.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and work >= LEAST_WORK and onednn_is_faster()


def _pairs_suit(a: Tensor, b: Tensor) -> bool:
    return _suits(a, b, a.shape[1] * a.shape[2] * b.shape[1])


def _onednn(a: Tensor, b: Tensor, c: Tensor | None) -> Tensor:
    if a.numel() >= LARGE and a.stride(-2) == 1 and not a.is_contiguous():
        a = _laid_out(a)
    if not (b.is_contiguous() or b.t().is_contiguous()):
        b = b.contiguous()  # a thousand times slower where rows of b have gaps between them
    return onednn_linear(a, b, c)


def _laid_out(a: Float[Tensor, "*A p d"]) -> Float[Tensor, "*A p d"]:
    """A transposed matrix, made contiguous in two thirds of the time.

    Its columns are rows of memory, mostly a power of two apart, and such share a few places of the cache; so
    they are put some elements further apart first.
    """
    apart = F.pad(a.mT, (0, 16))
    return apart[..., : a.shape[-2]].mT.contiguous()


def _each(a: Tensor, b: Tensor) -> Tensor:
    if len(a) == 1:
        return _onednn(a, b[0], None)
    return products_into(a, b, a.new_empty(len(a), a.shape[1], b.shape[1]))


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


class _Parts(torch.autograd.Function):
    """a bᵀ + c in parts; what their gradients share is laid out once."""

    @staticmethod
    def forward(ctx, a, b, c, sizes):
        ctx.save_for_backward(a, b)
        ctx.sizes, ctx.biased = sizes, c is not None
        biases = [None] * len(sizes) if c is None else c.split(sizes)
        return tuple(_onednn(a, part, bias) for part, bias in zip(b.split(sizes), biases, strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        a, b = ctx.saved_tensors
        of_a, of_b, across = torch.zeros_like(a), torch.empty_like(b), _laid_out(a.t())
        for gradient, part, of_part in zip(gradients, b.split(ctx.sizes), of_b.split(ctx.sizes), strict=True):
            of_a += _onednn(gradient, part.t(), None)
            of_part.copy_(_onednn(across, gradient.t(), None).t())
        of_c = torch.cat([gradient.sum(0) for gradient in gradients]) if ctx.biased else None
        return of_a, of_b, of_c, None


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
        return _each(a, b)

    @staticmethod
    def backward(ctx, gradient):
        a, b = ctx.saved_tensors
        of_a = products(gradient, b.mT) if ctx.needs_input_grad[0] else None
        of_b = products(gradient.mT, a.mT) if ctx.needs_input_grad[1] else None
        return of_a, of_b
