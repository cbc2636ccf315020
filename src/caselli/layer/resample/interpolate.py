"""Upsampling by fixed interpolation, then a 3 × 3 convolution.

The convolution is the field's practice (Odena et al., 2016, "Deconvolution and checkerboard artifacts"): the
interpolation makes the size, the convolution the content.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from caselli.layer.resample.base import Scale, Upsampler, convolution
from caselli.shapes import Float, Int, Tensor


def nearest_indices(size: int, out_size: int) -> Int[Tensor, "out_size"]:
    """⌊o · size / out_size⌋ in whole numbers.

    Example:
        >>> nearest_indices(6, 4)
        tensor([0, 1, 3, 4])
    """
    return torch.arange(out_size) * size // out_size


def nearest_exact_indices(size: int, out_size: int) -> Int[Tensor, "out_size"]:
    """⌊(o + ½) · size / out_size⌋ in whole numbers: the pixel under the output's centre.

    Example:
        >>> nearest_exact_indices(6, 4)
        tensor([0, 2, 3, 5])
    """
    return (2 * torch.arange(out_size) + 1) * size // (2 * out_size)


def _powers_of_two(sizes: torch.Size, out_sizes: tuple[int, int]) -> bool:
    ratios = [out // size if out % size == 0 else 0 for size, out in zip(sizes, out_sizes, strict=True)]
    return all(ratio and ratio & (ratio - 1) == 0 for ratio in ratios)


def _gather(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return x.index_select(2, rows.to(x.device)).index_select(3, columns.to(x.device))


def nearest(x: Float[Tensor, "B C H W"], size: tuple[int, int]) -> Float[Tensor, "B C h w"]:
    r"""Each output takes the input at the same place, rounded down.

    .. math:: y_o = x_{\lfloor o H / h \rfloor}

    Torch computes the index in float32 and misses it by one at some sizes; whole numbers do not.

    Example:
        >>> nearest(torch.arange(2.0).view(1, 1, 1, 2), (1, 4)).flatten()
        tensor([0., 0., 1., 1.])
    """
    if _powers_of_two(x.shape[2:], size):  # torch's index is exact there, and its kernel faster
        return F.interpolate(x, size, mode="nearest")
    return _gather(x, nearest_indices(x.shape[2], size[0]), nearest_indices(x.shape[3], size[1]))


def nearest_exact(x: Float[Tensor, "B C H W"], size: tuple[int, int]) -> Float[Tensor, "B C h w"]:
    r"""Each output takes the input under its own centre.

    .. math:: y_o = x_{\lfloor (o + 1/2) H / h \rfloor}

    Example:
        >>> nearest_exact(torch.arange(6.0).view(1, 1, 1, 6), (1, 4)).flatten()
        tensor([0., 2., 3., 5.])
    """
    if _powers_of_two(x.shape[2:], size):
        return F.interpolate(x, size, mode="nearest-exact")
    return _gather(x, nearest_exact_indices(x.shape[2], size[0]), nearest_exact_indices(x.shape[3], size[1]))


def bilinear(x: Float[Tensor, "B C H W"], size: tuple[int, int]) -> Float[Tensor, "B C h w"]:
    r"""Linear along each axis between the two inputs around the source coordinate.

    .. math:: u = (o + \tfrac12) H / h - \tfrac12

    Half-pixel centres ("align_corners=False"): the result does not depend on the picture's size.

    Example:
        >>> bilinear(torch.tensor([0.0, 1.0]).view(1, 1, 1, 2), (1, 4)).flatten()
        tensor([0.0000, 0.2500, 0.7500, 1.0000])
    """
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def bicubic(x: Float[Tensor, "B C H W"], size: tuple[int, int]) -> Float[Tensor, "B C h w"]:
    """Keys' cubic convolution with a = −0.75 at half-pixel centres; overshoots at edges by up to a tenth.

    Source: Keys, 1981, "Cubic convolution interpolation for digital image processing".
    """
    return F.interpolate(x, size, mode="bicubic", align_corners=False)


def area(x: Float[Tensor, "B C H W"], size: tuple[int, int]) -> Float[Tensor, "B C h w"]:
    r"""The mean over the inputs that an output touches.

    .. math:: \lfloor oH/h \rfloor \dots \lceil (o+1)H/h \rceil - 1

    Upwards by a whole scale it equals nearest; at other scales it blends across the border of two pixels.
    """
    return F.adaptive_avg_pool2d(x, size)


class _Interpolation(Upsampler):
    """Interpolation by `resize`, then a 3 × 3 convolution to the output's width; any scale, any size."""

    resize = staticmethod(bilinear)

    def __init__(self, width: int, out_width: int | None = None, scale: Scale = 2) -> None:
        super().__init__(width, out_width, scale)
        self.convolution = convolution(self.width, self.out_width)

    def upsample(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return self.convolution(self.resize(x, size))


class Nearest(_Interpolation):
    """`nearest`, then a 3 × 3 convolution.

    Arguments:
        width: channels of the input; `out_width`: of the output, `width` unless given.
        scale: output pixels per input pixel, any positive number.

    Example:
        >>> Nearest(8, scale=120 / 88)(torch.zeros(1, 8, 88, 4)).shape
        torch.Size([1, 8, 120, 5])
    """

    resize = staticmethod(nearest)


class NearestExact(_Interpolation):
    """`nearest_exact`, then a 3 × 3 convolution; arguments as for `Nearest`."""

    resize = staticmethod(nearest_exact)


class Bilinear(_Interpolation):
    """`bilinear`, then a 3 × 3 convolution; arguments as for `Nearest`."""

    resize = staticmethod(bilinear)


class Bicubic(_Interpolation):
    """`bicubic`, then a 3 × 3 convolution; arguments as for `Nearest`."""

    resize = staticmethod(bicubic)


class Area(_Interpolation):
    """`area`, then a 3 × 3 convolution; arguments as for `Nearest`."""

    resize = staticmethod(area)
