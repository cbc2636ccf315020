"""U-Net."""

from __future__ import annotations

import torch
from torch import nn

from caselli.errors import lookup
from caselli.layer import DOWNSAMPLERS, UPSAMPLERS, normalised
from caselli.segmentation.config import SegmenterConfig
from caselli.shapes import Float, Tensor


class UNet(nn.Module):
    """Encoder of halvings and decoder of doublings, each doubling joined with the encoder's map of its size.

    Arguments:
        channels: channels of the pictures.
        classes: classes of the map.
        width: channels at full size, doubled at each step down.
        depth: number of halvings.
        upsampler: name in `UPSAMPLERS`, or "transposed2", the original's 2 × 2 transposed convolution.
        downsampler: name in `DOWNSAMPLERS`, or "pool", the original's 2 × 2 maximum without a convolution.
        norm: name in `NORMS` of the normalisation after every 3 × 3 convolution; the original has none.
        padded: convolutions keep the size; the original's do not, and skips are cropped to fit.

    Source: Ronneberger, Fischer and Brox, 2015, "U-Net: convolutional networks for biomedical image
    segmentation".

    Example:
        >>> UNet(width=8)(torch.zeros(1, 3, 50, 35)).shape
        torch.Size([1, 2, 50, 35])
    """

    def __init__(
        self,
        channels: int = 3,
        classes: int = 2,
        width: int = 64,
        depth: int = 4,
        upsampler: str = "transposed2",
        downsampler: str = "pool",
        norm: str = "none",
        padded: bool = True,
    ) -> None:
        super().__init__()
        self.padded = padded
        widths = [width * 2**step for step in range(depth + 1)]
        padding = int(padded)
        self.down = nn.ModuleList(
            _double(a, b, padding, norm) for a, b in zip([channels, *widths[:-2]], widths[:-1], strict=True)
        )
        self.pool = nn.ModuleList(_downsampler(downsampler, w, padded) for w in widths[:-1])
        self.bottleneck = _double(widths[-2], widths[-1], padding, norm)
        self.up = nn.ModuleList(_upsampler(upsampler, w) for w in widths[:0:-1])
        self.merge = nn.ModuleList(_double(w, w // 2, padding, norm) for w in widths[:0:-1])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K h w"]:
        skips = []
        for down, pool in zip(self.down, self.pool, strict=True):
            x = down(x)
            skips.append(x)
            x = pool(x)
        x = self.bottleneck(x)
        for up, merge in zip(self.up, self.merge, strict=True):
            skip, x = skips.pop(), up(x)
            size = tuple(min(a, b) for a, b in zip(skip.shape[2:], x.shape[2:], strict=True))
            skip = skip if self.padded else _centre(skip, size)
            x = merge(torch.cat([skip, x[:, :, : size[0], : size[1]]], 1))
        return self.head(x)


def _double(width: int, out_width: int, padding: int, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for given in (width, out_width):
        # a bias before batch normalisation does nothing
        convolution = nn.Conv2d(given, out_width, 3, padding=padding, bias=norm != "batch")
        layers += [*normalised(convolution, norm), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _centre(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle `size` of a picture."""
    rows, columns = ((have - want) // 2 for have, want in zip(x.shape[2:], size, strict=True))
    return x[:, :, rows : rows + size[0], columns : columns + size[1]]


def _upsampler(name: str, width: int) -> nn.Module:
    if name == "transposed2":
        return nn.ConvTranspose2d(width, width // 2, 2, 2)
    return lookup(UPSAMPLERS, "upsampler", name)(width, width // 2)


def _downsampler(name: str, width: int, padded: bool) -> nn.Module:
    if name == "pool":
        return nn.MaxPool2d(2, ceil_mode=padded)
    return lookup(DOWNSAMPLERS, "downsampler", name)(width)


def small_unet(config: SegmenterConfig) -> UNet:
    """The U-Net that a configuration describes."""
    return UNet(
        config.channels,
        config.classes,
        config.width,
        config.depth,
        config.upsampler,
        config.downsampler,
        config.norm,
    )
