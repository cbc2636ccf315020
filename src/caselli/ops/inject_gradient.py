"""A gradient that was computed elsewhere, as part of a loss."""

from __future__ import annotations

from typing import Any

import torch

from caselli.shapes import Float, Tensor


class _InjectGradient(torch.autograd.Function):
    """Zero, with a given gradient: safe where `(gradient * x).sum()` would be 0 times infinity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return x.new_zeros(())

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return upstream * ctx.saved_tensors[0], None


def inject_gradient(x: Float[Tensor, "..."], gradient: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """A zero whose gradient with respect to x is `gradient`.

    Example:
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> inject_gradient(x, torch.tensor([3.0, 4.0])).backward()
        >>> x.grad
        tensor([3., 4.])
    """
    return _InjectGradient.apply(x, gradient.detach())
