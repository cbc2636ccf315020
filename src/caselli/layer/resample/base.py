"""The contract of everything that makes a picture larger or smaller, and the exact sizes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from fractions import Fraction

from torch import nn

from caselli.errors import UserError
from caselli.shapes import Float, Tensor

Scale = int | float | Fraction
"""Output pixels per input pixel (upwards), or input pixels per output pixel (downwards)."""


def enlarged(size: int, scale: Scale) -> int:
    """round(size · scale), halves upwards, at least 1: what an upsampler makes of `size` pixels.

    Rounding, where torch truncates, keeps 88 · (120 / 88) at 120 in spite of the product's last bit.

    Example:
        >>> enlarged(88, 120 / 88), enlarged(32, 1.8), enlarged(5, 2)
        (120, 58, 10)
    """
    return max(1, math.floor(size * scale + 0.5))


def reduced(size: int, scale: Scale) -> int:
    """⌈size / scale⌉: what a downsampler makes of `size` pixels; no pixel is lost at the border.

    Example:
        >>> reduced(120, 120 / 88), reduced(7, 2), reduced(8, 2)
        (88, 4, 4)
    """
    return max(1, math.ceil(size / scale - 1e-9 * size))  # 1e-9: a last bit too many is not a pixel


def whole(scale: Scale, method: str, others: str) -> int:
    """The scale as an int, or a `UserError` that names the methods that serve fractions.

    Example:
        >>> whole(2.0, "pixel shuffle", "bilinear")
        2
    """
    if scale != int(scale) or scale < 1:
        raise UserError(
            f"scale {scale} was given",
            f"{method} serves whole scales of at least 1",
            f"use {others} for any scale",
        )
    return int(scale)


class Resampler(nn.Module, ABC):
    """Pictures `B width H W` → `B out_width` at another size; `out_width` is `width` unless given."""

    def __init__(self, width: int, out_width: int | None = None, scale: Scale = 2) -> None:
        super().__init__()
        if scale <= 0:
            raise UserError(f"scale {scale} was given", "a positive number was expected")
        self.width, self.out_width, self.scale = width, out_width or width, scale


class Upsampler(Resampler, ABC):
    """Makes a picture `scale` times larger: `upsampler(x, size=None)`.

    `size` asks for an exact output size (a U-Net's skip connection of odd size, say); it is
    `enlarged(H, scale)` unless given. Methods of whole scale accept what they can crop from `scale · H`: any
    size that a downsampler of the same scale would bring back to H.

    A method extends this class, is final, and gives `upsample`.
    """

    def forward(
        self, x: Float[Tensor, "B width H W"], size: tuple[int, int] | None = None
    ) -> Float[Tensor, "B out_width out_H out_W"]:
        if size is None:
            size = (enlarged(x.shape[2], self.scale), enlarged(x.shape[3], self.scale))
        return self.upsample(x, size)

    @abstractmethod
    def upsample(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """The picture at exactly `size`."""


class Downsampler(Resampler, ABC):
    """Makes a picture `scale` times smaller: `downsampler(x)`, of size `reduced(H, scale)`.

    A method extends this class, is final, and gives `downsample`.
    """

    def forward(self, x: Float[Tensor, "B width H W"]) -> Float[Tensor, "B out_width out_H out_W"]:
        return self.downsample(x)

    @abstractmethod
    def downsample(self, x: Tensor) -> Tensor:
        """The smaller picture."""


def crop(x: Float[Tensor, "B C H W"], size: tuple[int, int], scale: int) -> Float[Tensor, "B C h w"]:
    """The upper left `size` of a picture that was made `scale` times larger."""
    for given, full in zip(size, x.shape[2:], strict=True):
        if not full - scale < given <= full:
            raise UserError(
                f"output size {given} was given",
                f"{full - scale + 1} to {full} was expected from a method of whole scale {scale}",
                "use nearest, bilinear, bicubic or area for any size",
            )
    return x[:, :, : size[0], : size[1]]


def convolution(width: int, out_width: int) -> nn.Conv2d:
    """The 3 × 3 convolution that goes with a resampling that has no channel mixing of its own."""
    return nn.Conv2d(width, out_width, 3, padding=1)
