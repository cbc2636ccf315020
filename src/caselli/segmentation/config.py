"""Configuration of a segmenter, and the network that it describes."""

from __future__ import annotations

import dataclasses

from torch import nn

import caselli.segmentation as room  # the door's table is whole by the time that this is called
from caselli.errors import UserError, lookup


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
    """Name in `caselli.layer.UPSAMPLERS`."""
    downsampler: str = "max"
    """Name in `caselli.layer.DOWNSAMPLERS`, used by a U-Net; an FCN pools by maxima."""
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


def build_segmenter(config: SegmenterConfig) -> nn.Module:
    """The network that a configuration describes.

    Errors: `UnknownName` for an unknown architecture, resampler or normalisation.

    Example:
        >>> import torch
        >>> build_segmenter(SegmenterConfig(classes=5, width=8))(torch.zeros(2, 1, 24, 20)).shape
        torch.Size([2, 5, 24, 20])
    """
    return lookup(room.SEGMENTERS, "architecture", config.architecture)(config)
