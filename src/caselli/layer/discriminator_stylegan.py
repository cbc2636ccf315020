"""A discriminator that judges the whole picture."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.layer.discriminator import SLOPE, Discriminator
from caselli.layer.resample.filtered import blur_pool
from caselli.shapes import Float, Tensor

LAST_SIDE = 4
"""Pixels a side that the last layers see."""
GROUP = 4
"""Pictures that the minibatch deviation is taken over, at most."""


class StyleDiscriminator(Discriminator):
    r"""StyleGAN2's: residual blocks that halve the size through a low-pass filter, then one score.

    .. math:: y = \big(C_2\,\downarrow\sigma C_1 x + S\,\downarrow x\big) / \sqrt2

    The last layers also see how much pictures of a group differ from one another, so that a generator that
    makes one picture over and over is found out. Weights are stored at unit scale and scaled when used
    (equalised learning rate). It has no spectral norm: train it with R1.

    Arguments:
        width: channels of the first block; they double with each halving, up to eightfold.
        channels: C of the pictures.
        layers: halvings; 4 brings 64 pixels down to 4. What is left is averaged to 4 × 4.

    Source: Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN.

    Example:
        >>> StyleDiscriminator(16, layers=3)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 1, 1, 1])
    """

    def __init__(self, width: int, channels: int = 3, *, layers: int = 4) -> None:
        if layers < 1:
            raise UserError(f"layers {layers} were given", "at least 1 was expected")
        super().__init__(width, channels, smallest=LAST_SIDE << (layers - 1))
        widths = [width * min(8, 1 << layer) for layer in range(layers + 1)]
        blocks = [_Block(a, b) for a, b in pairwise(widths)]
        self.entry = EqualisedConv2d(channels, width, 1)
        self.blocks = nn.Sequential(*blocks)
        self.mix = EqualisedConv2d(widths[-1] + 1, widths[-1], 3)
        self.join = EqualisedConv2d(widths[-1], widths[-1], LAST_SIDE, padding=0)
        self.last = EqualisedConv2d(widths[-1], 1, 1)

    def score(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 h w"]:
        x = self.blocks(_rectified(self.entry(pictures)))
        x = F.adaptive_avg_pool2d(x, LAST_SIDE)
        x = _rectified(self.mix(torch.cat((x, minibatch_deviation(x)), 1)))
        return self.last(_rectified(self.join(x)))


class EqualisedConv2d(nn.Module):
    r"""A convolution whose weights are stored at unit scale: :math:`w / \sqrt{\text{fan-in}}` is applied.

    Arguments:
        width: channels in.
        out_width: channels out.
        kernel: side of the kernel.
        padding: pixels of zeros; half the kernel unless given.

    Source: Karras et al. 2018, Progressive Growing of GANs for Improved Quality, Stability, and Variation.

    Example:
        >>> EqualisedConv2d(3, 8, 3)(torch.zeros(1, 3, 5, 5)).shape
        torch.Size([1, 8, 5, 5])
    """

    def __init__(self, width: int, out_width: int, kernel: int, padding: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_width, width, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_width))
        self.scale = 1 / math.sqrt(width * kernel * kernel)
        self.padding = kernel // 2 if padding is None else padding

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B F h w"]:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


def minibatch_deviation(x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B 1 H W"]:
    """The standard deviation over groups of at most 4 pictures, averaged over channels and places; 0 for one.

    Example:
        >>> minibatch_deviation(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1)).flatten().round(decimals=3)
        tensor([1., 1.])
    """
    batch, _, height, width = x.shape
    size = next(s for s in range(min(GROUP, batch), 0, -1) if batch % s == 0)
    groups = x.float().view(size, -1, *x.shape[1:])
    # the root is not differentiable at zero, where all pictures of a group are alike
    deviation = (groups.var(0, correction=0) + 1e-12).sqrt().mean((1, 2, 3)) - 1e-6
    return deviation.to(x.dtype).repeat(size).view(batch, 1, 1, 1).expand(-1, -1, height, width)


class _Block(nn.Module):
    def __init__(self, width: int, out_width: int) -> None:
        super().__init__()
        self.first = EqualisedConv2d(width, width, 3)
        self.second = EqualisedConv2d(width, out_width, 3)
        self.skip = EqualisedConv2d(width, out_width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = _rectified(self.second(blur_pool(_rectified(self.first(x)), 2)))
        return (y + self.skip(blur_pool(x, 2))) / math.sqrt(2)


def _rectified(x: Tensor) -> Tensor:
    """The leaky rectifier, at the input's variance."""
    return F.leaky_relu(x, SLOPE) * math.sqrt(2)
