"""Anti-aliased resampling: zero-insertion with a low-pass filter upwards, blur-pooling downwards."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from caselli.layer.resample.base import Downsampler, Scale, Upsampler, convolution, crop, whole
from caselli.shapes import Float, Tensor

REACH = 3
"""Inputs on either side that an interpolated pixel sees along an axis: StyleGAN3's six taps a phase."""

KAISER_BETA = 3.395
"""40 dB of damping in the stop band."""


def low_pass_phases(scale: int, reach: int = REACH) -> Float[Tensor, "scale taps"]:
    r"""A windowed-sinc interpolation filter, one row for each of the s outputs of an input pixel.

    .. math:: f_{jm} \propto \operatorname{sinc}(d)\,
        I_0\!\big(\beta\sqrt{1 - (d/r)^2}\big), \qquad d = \frac{j + 1/2}{s} - \frac12 - m

    for input offsets m = −r … r. Each row has sum 1, so that a constant picture stays constant; the plain
    filter leaves a faint checkerboard there.

    Arguments:
        scale: s, outputs per input pixel.
        reach: r, how far the window extends, in input pixels.

    Source: Kaiser, 1974, "Nonrecursive digital filter design using the I0-sinh window function".

    Example:
        >>> low_pass_phases(2).sum(1)
        tensor([1., 1.], dtype=torch.float64)
    """
    outputs = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    distances = outputs[:, None] - torch.arange(-reach, reach + 1)
    window = torch.special.i0(KAISER_BETA * (1 - (distances / reach) ** 2).clamp_min(0).sqrt())
    taps = torch.where(distances.abs() <= reach, torch.sinc(distances) * window, 0)
    return taps / taps.sum(1, keepdim=True)


def binomial(taps: int) -> Float[Tensor, "taps"]:
    """Pascal's triangle, of sum 1.

    Example:
        >>> binomial(3)
        tensor([0.2500, 0.5000, 0.2500], dtype=torch.float64)
    """
    row = torch.tensor([math.comb(taps - 1, n) for n in range(taps)], dtype=torch.float64)
    return row / row.sum()


def _pad_axis(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    return F.pad(x, (0, 0, before, after) if axis == 2 else (before, after, 0, 0), mode="replicate")


def _filter_axis(x: Tensor, taps: Tensor, axis: int, stride: int = 1) -> Tensor:
    width = x.shape[1]
    kernel = taps.to(x).view((1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)).expand(width, -1, -1, -1)
    return F.conv2d(x, kernel, stride=(stride, 1) if axis == 2 else (1, stride), groups=width)


def interpolate_filtered(x: Float[Tensor, "B C H W"], scale: int) -> Float[Tensor, "B C h w"]:
    """s − 1 zeros between pixels along each axis, then the low-pass filter; borders are repeated.

    Computed phase by phase, so that no zero is ever multiplied.

    Source: Karras et al., 2021, "Alias-free generative adversarial networks".

    Example:
        >>> interpolate_filtered(torch.ones(1, 1, 2, 3), 2).shape
        torch.Size([1, 1, 4, 6])
    """
    phases = low_pass_phases(scale)
    for axis in (2, 3):
        padded = _pad_axis(x, axis, REACH, REACH)
        x = torch.stack([_filter_axis(padded, taps, axis) for taps in phases], axis + 1).flatten(
            axis, axis + 1
        )
    return x


def blur_pool(x: Float[Tensor, "B C H W"], scale: int, taps: int = 4) -> Float[Tensor, "B C h w"]:
    """A binomial filter along each axis, and every s-th of its outputs, ⌈H / s⌉; borders are repeated.

    Source: Zhang, 2019, "Making convolutional networks shift-invariant again".

    Example:
        >>> blur_pool(torch.ones(1, 1, 5, 4), 2).shape
        torch.Size([1, 1, 3, 2])
    """
    kernel = binomial(taps)
    for axis in (2, 3):
        x = _filter_axis(_pad_axis(x, axis, (taps - 1) // 2, taps // 2), kernel, axis, scale)
    return x


class ZeroInsertion(Upsampler):
    """`interpolate_filtered`, then a 3 × 3 convolution: the anti-aliased upsampling.

    Arguments:
        width: channels of the input; `out_width`: of the output, `width` unless given.
        scale: s, a whole number.

    Example:
        >>> ZeroInsertion(8)(torch.zeros(1, 8, 4, 5)).shape
        torch.Size([1, 8, 8, 10])
    """

    def __init__(self, width: int, out_width: int | None = None, scale: Scale = 2) -> None:
        super().__init__(
            width, out_width, whole(scale, "zero-insertion", "nearest, bilinear, bicubic or area")
        )
        self.convolution = convolution(self.width, self.out_width)

    def upsample(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return self.convolution(crop(interpolate_filtered(x, self.scale), size, self.scale))


class BlurPooling(Downsampler):
    """`blur_pool`, then a 3 × 3 convolution: the anti-aliased downsampling.

    Arguments:
        width: channels of the input; `out_width`: of the output, `width` unless given.
        scale: s, a whole number.
        taps: length of the binomial filter, at least 2.

    Example:
        >>> BlurPooling(8)(torch.zeros(1, 8, 7, 4)).shape
        torch.Size([1, 8, 4, 2])
    """

    def __init__(self, width: int, out_width: int | None = None, scale: Scale = 2, *, taps: int = 4) -> None:
        super().__init__(width, out_width, whole(scale, "blur-pooling", "average or max"))
        self.taps = taps
        self.convolution = convolution(self.width, self.out_width)

    def downsample(self, x: Tensor) -> Tensor:
        return self.convolution(blur_pool(x, self.scale, self.taps))
