"""The convolutional parts of encoders, decoders and discriminators."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import nn

from caselli.ops import attention
from caselli.shapes import Float, Tensor


class GroupNorm(nn.GroupNorm):
    """Group normalisation in the precision of its weights, also where autocast gives it half precision.

    That is what autocast does on a GPU. On a CPU it would keep the half precision, whose kernels are several
    times slower here, and less exact.

    Example:
        >>> import torch
        >>> GroupNorm(2, 4)(torch.zeros(1, 4, 2, 2, dtype=torch.bfloat16)).dtype
        torch.float32
    """

    def forward(self, x: Float[Tensor, "B D *S"]) -> Float[Tensor, "B D *S"]:
        return F.group_norm(x.to(self.weight.dtype), self.num_groups, self.weight, self.bias, self.eps)


def group_norm(width: int) -> GroupNorm:
    """Group normalisation over at most 32 groups of at least 4 channels.

    Example:
        >>> group_norm(64).num_groups, group_norm(6).num_groups
        (16, 1)
    """
    groups = next(g for g in (32, 16, 8, 4, 2, 1) if (width % g == 0 and width // g >= 4) or g == 1)
    return GroupNorm(groups, width, eps=1e-6)


class ResidualBlock(nn.Module):
    r"""Two convolutions around which the input is carried.

    .. math:: y = S x + C_2\,\mathrm{SiLU}(N_2\, C_1\,\mathrm{SiLU}(N_1 x))

    with S the identity, or a 1×1 convolution where the width changes. C₂ starts at a small scale, so that a
    deep stack begins near the identity.

    Arguments:
        width: channels in.
        out_width: channels out.
        norm: makes N of a number of channels.
        bias: False for convolutions without.

    Source: He et al. 2016, Identity Mappings in Deep Residual Networks, with group normalisation.

    Example:
        >>> import torch
        >>> ResidualBlock(8, 16)(torch.zeros(1, 8, 4, 4)).shape
        torch.Size([1, 16, 4, 4])
    """

    def __init__(
        self, width: int, out_width: int, norm: Callable[[int], nn.Module] = group_norm, bias: bool = True
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(width), norm(out_width)
        self.conv1 = nn.Conv2d(width, out_width, 3, padding=1, bias=bias)
        self.conv2 = nn.Conv2d(out_width, out_width, 3, padding=1, bias=bias)
        nn.init.normal_(self.conv2.weight, std=0.1 / (9 * out_width) ** 0.5)
        self.skip = nn.Identity() if width == out_width else nn.Conv2d(width, out_width, 1, bias=bias)

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B F H W"]:
        y = self.conv1(F.silu(self.norm1(x)))
        return self.skip(x) + self.conv2(F.silu(self.norm2(y)))


class SpatialAttention(nn.Module):
    r"""Softmax attention of every position to all others, around which the input is carried.

    .. math:: y = x + W_o\,\mathrm{softmax}(QK^\top/\sqrt d)\,V, \qquad Q, K, V = W N x

    Arguments:
        width: channels, a multiple of `heads`.
        heads: attention heads.
        norm: makes N of a number of channels.

    Source: Esser et al. 2021, Taming Transformers for High-Resolution Image Synthesis (there with one head).

    Example:
        >>> import torch
        >>> SpatialAttention(8)(torch.zeros(1, 8, 4, 4)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(self, width: int, heads: int = 1, norm: Callable[[int], nn.Module] = group_norm) -> None:
        super().__init__()
        self.heads = heads
        self.norm = norm(width)
        self.query_key_value = nn.Conv2d(width, 3 * width, 1)
        self.output = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.output.weight)

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D H W"]:
        batch, _, height, width = x.shape
        qkv = self.query_key_value(self.norm(x))
        q, k, v = qkv.view(batch, 3, self.heads, -1, height * width).transpose(3, 4).unbind(1)
        y = attention(q, k, v)
        return x + self.output(y.transpose(2, 3).reshape(batch, -1, height, width))
