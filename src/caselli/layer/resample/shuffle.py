"""Channels become pixels, and pixels channels: sub-pixel convolution and space-to-depth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from caselli.layer.resample.base import Downsampler, Scale, Upsampler, crop, reduced, whole
from caselli.shapes import Float, Tensor


def icnr_(weight: Tensor, scale: int) -> Tensor:
    r"""Gives the s² output channels of each shuffled channel one kernel, in place.

    .. math:: W_{c s^2 + n} = W_{c s^2} \quad \text{for all } n

    Then pixel shuffle after the convolution equals nearest after a convolution with one kernel a channel: no
    checkerboard at the start of training. A bias (a `weight` of one axis) is treated alike.

    Source: Aitken et al., 2017, "Checkerboard artifact free sub-pixel convolution".

    Example:
        >>> icnr_(torch.arange(8.0), 2)
        tensor([0., 0., 0., 0., 4., 4., 4., 4.])
    """
    with torch.no_grad():
        return weight.copy_(weight[:: scale**2].repeat_interleave(scale**2, 0))


class PixelShuffle(Upsampler):
    r"""A 3 × 3 convolution to s² times the channels, which then become an s × s block of pixels each.

    .. math:: y_{c,\, hs+i,\, ws+j} = (W * x)_{cs^2 + is + j,\, h,\, w}

    Starts as nearest upsampling after a convolution (`icnr_`), so without a checkerboard.

    Arguments:
        width: channels of the input; `out_width`: of the output, `width` unless given.
        scale: s, a whole number.

    Source: Shi et al., 2016, "Real-time single image and video super-resolution using an efficient sub-pixel
    convolutional neural network".

    Example:
        >>> PixelShuffle(8, 3)(torch.zeros(1, 8, 4, 5)).shape
        torch.Size([1, 3, 8, 10])
    """

    def __init__(self, width: int, out_width: int | None = None, scale: Scale = 2) -> None:
        super().__init__(
            width, out_width, whole(scale, "pixel shuffle", "nearest, bilinear, bicubic or area")
        )
        self.convolution = nn.Conv2d(self.width, self.out_width * self.scale**2, 3, padding=1)
        for parameter in self.convolution.parameters():
            icnr_(parameter, self.scale)

    def upsample(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return crop(F.pixel_shuffle(self.convolution(x), self.scale), size, self.scale)


def fill_up(x: Float[Tensor, "B C H W"], scale: int) -> Float[Tensor, "B C h w"]:
    """The picture with its last row and column repeated up to a multiple of `scale`."""
    rows, columns = (reduced(n, scale) * scale - n for n in x.shape[2:])
    return F.pad(x, (0, columns, 0, rows), mode="replicate") if rows or columns else x


class SpaceToDepth(Downsampler):
    r"""An s × s block of pixels becomes s² channels, then a 1 × 1 convolution: no pixel is thrown away.

    .. math:: y_{h,w} = W\,[x_{\cdot,\,hs+i,\,ws+j}]_{i,j}

    Sizes that are no multiple of s are filled up by repeating the last row and column.

    Arguments:
        width: channels of the input; `out_width`: of the output, `width` unless given.
        scale: s, a whole number.

    Source: Shi et al., 2016 (the inverse rearrangement); Sajjadi et al., 2018, "Frame-recurrent video
    super-resolution" (the name).

    Example:
        >>> SpaceToDepth(8)(torch.zeros(1, 8, 7, 4)).shape
        torch.Size([1, 8, 4, 2])
    """

    def __init__(self, width: int, out_width: int | None = None, scale: Scale = 2) -> None:
        super().__init__(width, out_width, whole(scale, "space-to-depth", "average or max"))
        self.convolution = nn.Conv2d(self.width * self.scale**2, self.out_width, 1)

    def downsample(self, x: Tensor) -> Tensor:
        return self.convolution(F.pixel_unshuffle(fill_up(x, self.scale), self.scale))
