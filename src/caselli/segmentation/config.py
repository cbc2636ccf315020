"""What a segmenter is made of, and its making."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import nn

from caselli.errors import UserError, lookup
from caselli.segmentation.fcn import small_fcn
from caselli.segmentation.unet import UNet


@dataclasses.dataclass(frozen=True)
class SegmenterConfig:
    """Architecture of a network that gives every pixel a class."""

    architecture: str = "unet"
    """Name in `caselli.segmentation.SEGMENTERS`."""
    channels: int = 1
    """Picture channels: 1 grey, 3 colour."""
    classes: int = 2
    """Classes, the background included; at most 255."""
    width: int = 16
    """Channels at the highest resolution."""
    depth: int = 3
    """Halvings of a U-Net; an FCN always has five."""
    upsampler: str = "bilinear"
    """Name in `caselli.layer.resample.UPSAMPLERS`."""
    downsampler: str = "max"
    """Name in `caselli.layer.resample.DOWNSAMPLERS`, of a U-Net; an FCN pools by maxima."""
    norm: str = "batch"
    """Normalisation after each convolution: none, batch or group."""

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise UserError(f"channels {self.channels} was given", "1 (grey) or 3 (colour) was expected")
        if not 2 <= self.classes <= 255:
            raise UserError(f"{self.classes} classes were given", "2 to 255 were expected")
        if self.width < 1 or self.depth < 1:
            raise UserError(
                f"width {self.width} and depth {self.depth} were given", "at least 1 was expected of each"
            )


def _unet(config: SegmenterConfig) -> nn.Module:
    return UNet(
        config.channels,
        config.classes,
        config.width,
        config.depth,
        config.upsampler,
        config.downsampler,
        config.norm,
    )


def _fcn(stride: int) -> Callable[[SegmenterConfig], nn.Module]:
    def build(config: SegmenterConfig) -> nn.Module:
        return small_fcn(config.channels, config.classes, config.width, stride, config.upsampler, config.norm)

    return build


SEGMENTERS: dict[str, Callable[[SegmenterConfig], nn.Module]] = {
    "unet": _unet,
    **{f"fcn{stride}s": _fcn(stride) for stride in (8, 16, 32)},
}
"""Name → what builds the network: pictures `B C H W` → logits `B classes H W`, of any size."""


def build_segmenter(config: SegmenterConfig) -> nn.Module:
    """The network that a configuration describes.

    Errors: `UnknownName` for an architecture, a resampler or a normalisation that there is not.

    Example:
        >>> import torch
        >>> build_segmenter(SegmenterConfig(classes=5, width=8))(torch.zeros(2, 1, 24, 20)).shape
        torch.Size([2, 5, 24, 20])
    """
    return lookup(SEGMENTERS, "architecture", config.architecture)(config)
