"""Strided convolution, max- and average-pooling: a picture made smaller in the usual ways."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from caselli.layer.resample.base import Downsampler, Scale, convolution, reduced, whole
from caselli.shapes import Float, Int, Tensor


class StridedConvolution(Downsampler):
    r"""A convolution evaluated at every s-th pixel.

    .. math:: y_o = \sum_k W_k\, x_{os + k - (s - 1)}, \qquad k = 0 \dots 2s - 2

    so 3 × 3 taps for s = 2; every input is seen.

    Arguments:
        width: channels of the input; `out_width`: of the output, `width` unless given.
        scale: s, a whole number.

    Source: Springenberg et al., 2015, "Striving for simplicity: the all convolutional net".

    Example:
        >>> import torch
        >>> StridedConvolution(8, 16)(torch.zeros(1, 8, 7, 4)).shape
        torch.Size([1, 16, 4, 2])
    """

    def __init__(self, width: int, out_width: int | None = None, scale: Scale = 2) -> None:
        super().__init__(width, out_width, whole(scale, "strided convolution", "average or max"))
        taps = 2 * self.scale - 1
        self.convolution = nn.Conv2d(self.width, self.out_width, taps, self.scale, padding=taps // 2)

    def downsample(self, x: Tensor) -> Tensor:
        return self.convolution(x)


class _Pooling(Downsampler):
    """Windows ⌊oH/h⌋ … ⌈(o+1)H/h⌉ − 1 that cover the picture for any scale, then a 3 × 3 convolution."""

    def __init__(self, width: int, out_width: int | None = None, scale: Scale = 2) -> None:
        super().__init__(width, out_width, scale)
        self.convolution = convolution(self.width, self.out_width)

    def size(self, x: Tensor) -> tuple[int, int]:
        return reduced(x.shape[2], self.scale), reduced(x.shape[3], self.scale)


class MaxPooling(_Pooling):
    """The largest value of each window, then a 3 × 3 convolution.

    At sizes that the scale divides these are the usual s × s windows; at others windows overlap by a pixel,
    and cover the picture.

    Arguments:
        width: channels of the input; `out_width`: of the output, `width` unless given.
        scale: input pixels per output pixel, any number of at least 1.

    Example:
        >>> import torch
        >>> MaxPooling(8, scale=1.5)(torch.zeros(1, 8, 6, 7)).shape
        torch.Size([1, 8, 4, 5])
    """

    def downsample(self, x: Tensor) -> Tensor:
        return self.with_switches(x)[0]

    def with_switches(
        self, x: Float[Tensor, "B width H W"]
    ) -> tuple[Float[Tensor, "B out_width h w"], Int[Tensor, "B width h w"]]:
        """The smaller picture, and where each maximum was (an index into H · W), for `MaxUnpooling`."""
        pooled, switches = F.adaptive_max_pool2d(x, self.size(x), return_indices=True)
        return self.convolution(pooled), switches


class AveragePooling(_Pooling):
    """The mean of each window, then a 3 × 3 convolution; windows and arguments as for `MaxPooling`."""

    def downsample(self, x: Tensor) -> Tensor:
        return self.convolution(F.adaptive_avg_pool2d(x, self.size(x)))
