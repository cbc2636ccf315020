"""Transposed convolution, with a kernel that overlaps evenly."""

from __future__ import annotations

from torch import nn

from caselli.layer.resample.base import Scale, Upsampler, crop, whole
from caselli.shapes import Tensor


class TransposedConvolution(Upsampler):
    r"""The gradient of a strided convolution as a layer: each input pixel paints a kernel, s pixels apart.

    .. math:: y_o = \sum_i W_{o + p - is}\, x_i

    The kernel has 2s taps (3s for odd s), a multiple of the stride, so that every output gets as many of
    them; what the weights learn may still bring a checkerboard. Each output sees two inputs along each axis
    (three for odd s).

    Arguments:
        width: channels of the input; `out_width`: of the output, `width` unless given.
        scale: s, a whole number.

    Source: Zeiler et al., 2010, "Deconvolutional networks"; Odena et al., 2016, "Deconvolution and
    checkerboard artifacts".

    Example:
        >>> import torch
        >>> TransposedConvolution(8, 3, scale=3)(torch.zeros(1, 8, 4, 5)).shape
        torch.Size([1, 3, 12, 15])
    """

    def __init__(self, width: int, out_width: int | None = None, scale: Scale = 2) -> None:
        super().__init__(
            width, out_width, whole(scale, "transposed convolution", "nearest, bilinear, bicubic or area")
        )
        # (H − 1)s − 2p + k = Hs, and s divides k
        taps = self.scale * (2 + self.scale % 2)
        self.convolution = nn.ConvTranspose2d(
            self.width, self.out_width, taps, self.scale, padding=(taps - self.scale) // 2
        )

    def upsample(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return crop(self.convolution(x), size, self.scale)
