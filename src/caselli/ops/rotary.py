"""Rotary positions: a query's and a key's angle differ by their distance."""

from __future__ import annotations

import torch

from caselli.shapes import Float, Num, Tensor


def rotary_angles(
    positions: Num[Tensor, "*T"], width: int, base: float = 10_000.0
) -> Float[Tensor, "*T half"]:
    """The angle t · base^(−2i/d) of each position t and pair i; float64 of float64 positions, else float32.

    Example:
        >>> rotary_angles(torch.arange(2), 4, base=100.0)
        tensor([[0.0000, 0.0000],
                [1.0000, 0.1000]])
    """
    dtype = torch.float64 if positions.dtype == torch.float64 else torch.float32
    exponents = torch.arange(0, width, 2, dtype=dtype, device=positions.device) / width
    return positions.to(dtype)[..., None] * base**-exponents


def rotary(x: Float[Tensor, "*A T d"], angles: Float[Tensor, "*R half"]) -> Float[Tensor, "*A T d"]:
    r"""Rotates pairs of channels by their position's angle.

    .. math:: (x_i, x_{i+d/2}) \mapsto (x_i\cos a_i - x_{i+d/2}\sin a_i,\; x_{i+d/2}\cos a_i + x_i\sin a_i)

    so that the product of a rotated query and key depends on their distance alone.

    Arguments:
        x: queries or keys, d even.
        angles: `T d/2` (or broadcastable), from `rotary_angles`; radians.

    Source: Su et al. 2021, RoFormer: Enhanced Transformer with Rotary Position Embedding.

    Example:
        >>> x = torch.tensor([[1.0, 0.0]])
        >>> rotary(x, rotary_angles(torch.tensor([torch.pi / 2]), 2)).round()
        tensor([[-0., 1.]])
    """
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    if torch.is_grad_enabled() and x.requires_grad and not angles.requires_grad:
        return _Turned.apply(x, cos, sin)
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class _Turned(torch.autograd.Function):
    """Rotation of both halves at once, on dense memory; its gradient is turned back."""

    @staticmethod
    def forward(ctx, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        x = x.contiguous()
        other = x.roll(x.shape[-1] // 2, -1)
        return torch.addcmul(x * torch.cat((cos, cos), -1), other, torch.cat((-sin, sin), -1))

    @staticmethod
    def backward(ctx, gradient):
        cos, sin = ctx.saved_tensors
        return _Turned.apply(gradient, cos, -sin), None, None
