"""The convolutional encoder and decoder."""

from __future__ import annotations

import dataclasses

from torch import nn

from caselli.errors import lookup
from caselli.layer import DOWNSAMPLERS, UPSAMPLERS, PixelShuffle, ResidualBlock, SpatialAttention, group_norm
from caselli.shapes import Float, Tensor
from caselli.tokenizer.base import Architecture
from caselli.tokenizer.config import TokenizerConfig


@dataclasses.dataclass(frozen=True)
class Convolutional(Architecture):
    """Levels of residual blocks with a resampler between them, begun and ended by patches of pixels.

    All its arguments are in the configuration.
    """

    def encoder(self, config: TokenizerConfig) -> ConvolutionalEncoder:
        return ConvolutionalEncoder(config)

    def decoder(self, config: TokenizerConfig) -> ConvolutionalDecoder:
        return ConvolutionalDecoder(config)


class ConvolutionalEncoder(nn.Module):
    """Pictures → latents: a patch convolution, levels of residual blocks with a downsampler between them.

    Source: Esser et al. 2021, Taming Transformers for High-Resolution Image Synthesis, with a patch start.

    Example:
        >>> import torch
        >>> config = TokenizerConfig(factor=4, width=8, latent_width=6)
        >>> ConvolutionalEncoder(config)(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 6, 2, 2])
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths = config.widths()
        down = lookup(DOWNSAMPLERS, "downsampler", config.downsampler)
        layers: list[nn.Module] = [_patches_in(config.channels, widths[0], config.patch)]
        factor, width = config.patch, widths[0]
        for level, out in enumerate(widths):
            layers += _level(width, out, config.blocks, factor in config.attention)
            width = out
            if level < len(widths) - 1:
                layers.append(down(width, scale=2))
                factor *= 2
        layers += [group_norm(width), nn.SiLU(), nn.Conv2d(width, config.latent_width, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        return self.layers(pictures)


class ConvolutionalDecoder(nn.Module):
    """Latents → pictures: the encoder's mirror image, ended by a sub-pixel convolution.

    Example:
        >>> import torch
        >>> config = TokenizerConfig(factor=4, width=8, latent_width=6)
        >>> ConvolutionalDecoder(config)(torch.zeros(1, 6, 2, 2)).shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths = config.widths()[::-1]
        up = lookup(UPSAMPLERS, "upsampler", config.upsampler)
        width, factor = widths[0], config.factor
        layers: list[nn.Module] = [nn.Conv2d(config.latent_width, width, 3, padding=1)]
        for level, out in enumerate(widths):
            layers += _level(width, out, config.blocks, factor in config.attention)
            width = out
            if level < len(widths) - 1:
                layers.append(up(width, scale=2))
                factor //= 2
        layers += [group_norm(width), nn.SiLU(), _patches_out(width, config.channels, config.patch)]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Float[Tensor, "B D h w"]) -> Float[Tensor, "B C H W"]:
        return self.layers(latents)


def _patches_in(channels: int, width: int, patch: int) -> nn.Module:
    if patch == 1:
        return nn.Conv2d(channels, width, 3, padding=1)
    # twice the patch, so that neighbours overlap and no seam is built in
    return nn.Conv2d(channels, width, 2 * patch, stride=patch, padding=patch // 2)


def _patches_out(width: int, channels: int, patch: int) -> nn.Module:
    if patch == 1:
        return nn.Conv2d(width, channels, 3, padding=1)
    return PixelShuffle(width, channels, scale=patch)  # its ICNR start keeps checkerboards out


def _level(width: int, out: int, blocks: int, attention: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(blocks):
        layers.append(ResidualBlock(width, out))
        width = out
    if not blocks and width != out:
        layers.append(nn.Conv2d(width, out, 1))
    if attention:
        fitting = (heads for heads in range(max(1, out // 64), 0, -1) if out % heads == 0)
        layers.append(SpatialAttention(out, heads=next(fitting)))
    return layers
