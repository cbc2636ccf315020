"""Several queries and keys made of one vector: scaled, offset and turned by their position."""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from caselli.ops.pieces import CACHED_ELEMENTS, LONG
from caselli.ops.rotary import rotary
from caselli.shapes import Float, Tensor


def offset_rotary_definition(z, gamma, beta, angles):
    """`offset_rotary` as it is written."""
    return tuple(rotary(z * scale + offset, angles) for scale, offset in zip(gamma, beta, strict=True))


def offset_rotary(
    z: Float[Tensor, "B T d"],
    gamma: Float[Tensor, "n d"],
    beta: Float[Tensor, "n d"],
    angles: Float[Tensor, "T half"],
) -> tuple[Float[Tensor, "B T d"], ...]:
    r"""n vectors of each token's one; differentiable once, and not by the angles.

    .. math:: x_i = R_t\,(\gamma_i \odot z_t + \beta_i)

    where R_t is `caselli.ops.rotary.rotary`'s rotation. Tokens are taken some at a time, so that what lies
    between z and x stays in the cache.

    Arguments:
        z: what they share, d even.
        gamma, beta: scale and offset of each.
        angles: of each token's pairs, from `caselli.ops.rotary.rotary_angles`; radians.

    Sources: Hua et al. 2022, Transformer Quality in Linear Time; Su et al. 2021, RoFormer: Enhanced
    Transformer with Rotary Position Embedding.

    Example:
        >>> gamma, beta = torch.tensor([[1.0, 1.0], [2.0, 2.0]]), torch.zeros(2, 2)
        >>> q, k = offset_rotary(torch.ones(1, 1, 2), gamma, beta, torch.zeros(1, 1))
        >>> q.flatten(), k.flatten()
        (tensor([1., 1.]), tensor([2., 2.]))
    """
    dtype = torch.promote_types(z.dtype, gamma.dtype)
    return _OffsetRotary.apply(z, gamma, beta, angles.cos().to(dtype), angles.sin().to(dtype))


class _OffsetRotary(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, gamma, beta, cos, sin):
        ctx.save_for_backward(z, gamma, beta, cos, sin)
        turned = cos.new_empty(len(gamma), *z.shape)
        for rows in _blocks(z, len(gamma)):
            offset_rotary_into(turned[:, :, rows], z[:, rows], gamma, beta, cos[rows], sin[rows])
        return turned.unbind()

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        z, gamma, beta, cos, sin = ctx.saved_tensors
        of_z, of_gamma, of_beta = torch.empty_like(z), torch.zeros_like(gamma), torch.zeros_like(beta)
        for rows in _blocks(z, len(gamma)):
            of_turned = torch.stack([gradient[:, rows] for gradient in gradients])
            found = offset_rotary_gradients(of_turned, z[:, rows], gamma, cos[rows], sin[rows])
            of_z[:, rows] = found[0]
            of_gamma += found[1]
            of_beta += found[2]
        return of_z, of_gamma, of_beta, None, None


def _blocks(z: Float[Tensor, "B T d"], count: int) -> list[slice]:
    elements = max(1, count * len(z) * z.shape[2])
    size = max(1, (CACHED_ELEMENTS if z.is_cpu else LONG) // elements)
    return [slice(start, start + size) for start in range(0, z.shape[1], size)]


def _each(x: Float[Tensor, "n d"]) -> Float[Tensor, "n 1 1 d"]:
    return x[:, None, None]


def offset_rotary_into(
    out: Float[Tensor, "n B T d"],
    z: Float[Tensor, "B T d"],
    gamma: Float[Tensor, "n d"],
    beta: Float[Tensor, "n d"],
    cos: Float[Tensor, "T half"],
    sin: Float[Tensor, "T half"],
) -> Float[Tensor, "n B T d"]:
    """`offset_rotary` of all tokens at once in the place of `out`, without a graph."""
    return _turn(torch.addcmul(_each(beta), z, _each(gamma)), cos, sin, out)


def offset_rotary_gradients(
    of_turned: Float[Tensor, "n B T d"],
    z: Float[Tensor, "B T d"],
    gamma: Float[Tensor, "n d"],
    cos: Float[Tensor, "T half"],
    sin: Float[Tensor, "T half"],
) -> tuple[Float[Tensor, "B T d"], Float[Tensor, "n d"], Float[Tensor, "n d"]]:
    """The gradients of z, γ and β of these tokens; `of_turned` is written over."""
    straight = _turn(of_turned, cos, -sin, torch.empty_like(of_turned))
    of_beta = straight.sum((1, 2))
    of_gamma = torch.mul(straight, z, out=of_turned).sum((1, 2))
    return straight.mul_(_each(gamma)).sum(0), of_gamma, of_beta


def _turn(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor) -> Tensor:
    """`rotary` into `out`."""
    (a, b), (first, second) = x.chunk(2, -1), out.chunk(2, -1)
    torch.mul(a, cos, out=first).addcmul_(b, sin, value=-1)
    torch.mul(b, cos, out=second).addcmul_(a, sin)
    return out
