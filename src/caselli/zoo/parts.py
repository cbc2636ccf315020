"""Common parts of the zoo's networks: convolutions with TensorFlow's padding, and the usual triples."""

from __future__ import annotations

import enum

import torch
import torch.nn.functional as F
from torch import nn

from caselli.shapes import Tensor


class Convention(enum.Enum):
    """Convention of a network's sizes and paddings."""

    TORCHVISION = "torchvision"
    """torchvision's: symmetric padding, a ResNet's stride on the 3 × 3 convolution."""
    ORIGINAL = "original"
    """The original ones as TF-Slim published them: "same" padding, which depends on the picture's size."""


class Same(nn.Module):
    r"""TensorFlow's "same" padding for a window: ⌈H / s⌉ outputs, the odd pixel of padding at the end.

    .. math:: p = \max((\lceil H/s \rceil - 1)\,s + k - H,\ 0)

    Arguments:
        taps, stride: taps and stride per axis of the window that follows.
        value: value of the padding.
    """

    def __init__(self, taps: tuple[int, int], stride: int, value: float = 0.0) -> None:
        super().__init__()
        self.taps, self.stride, self.value = taps, stride, value

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size, taps in zip(reversed(x.shape[2:]), reversed(self.taps), strict=True):
            total = max((-(-size // self.stride) - 1) * self.stride + taps - size, 0)
            pads += [total // 2, total - total // 2]
        return F.pad(x, pads, value=self.value) if any(pads) else x


def pair(taps: int | tuple[int, int]) -> tuple[int, int]:
    """One number for both axes, or two."""
    return taps if isinstance(taps, tuple) else (taps, taps)


def convolution(
    width: int, out_width: int, taps: int | tuple[int, int], stride: int = 1, *, same: bool = True, **options
) -> nn.Module:
    """A convolution with "same" padding, or none; at stride 1 and with odd taps the padding is fixed."""
    size = pair(taps)
    if not same:
        return nn.Conv2d(width, out_width, size, stride, **options)
    if stride == 1:
        return nn.Conv2d(width, out_width, size, padding=(size[0] // 2, size[1] // 2), **options)
    return nn.Sequential(Same(size, stride), nn.Conv2d(width, out_width, size, stride, **options))


def normalised(
    width: int, out_width: int, taps: int | tuple[int, int], stride: int = 1, *, same: bool = True, **options
) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        convolution(width, out_width, taps, stride, same=same, bias=False, **options),
        nn.BatchNorm2d(out_width),
        nn.ReLU(inplace=True),
    )


def max_pool(taps: int, stride: int, *, same: bool = False) -> nn.Module:
    """Max-pooling without padding, or with "same" padding."""
    pool = nn.MaxPool2d(taps, stride)
    return nn.Sequential(Same((taps, taps), stride, -float("inf")), pool) if same else pool


def average_pool() -> nn.Module:
    """The 3 × 3 mean at stride 1, as Inception uses it."""
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


def classifier(width: int, classes: int) -> nn.Sequential:
    """The mean over the picture, then a linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


class Branches(nn.ModuleList):
    """Every part on the same input, the results joined along channels."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__(parts)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self], 1)
