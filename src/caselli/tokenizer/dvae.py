"""The encoder and decoder of DALL·E's discrete variational autoencoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from caselli.shapes import Float, Tensor
from caselli.tokenizer.base import Architecture, level_widths
from caselli.tokenizer.config import TokenizerConfig

MARGIN = 0.1
"""Share of the logistic's range that is kept free at either end."""


@dataclasses.dataclass(frozen=True)
class DVAE(Architecture):
    """DALL·E's discrete variational autoencoder: bottleneck blocks without normalisation, max-pooling, a
    logistic at the end; made for the `gumbel` quantizer.

    Every level takes one pixel at a time: the configuration's `patch` and resamplers are not used. The
    published one is factor 8, width 256, multipliers (1, 2, 4, 8), 2 blocks, latent width 2048.

    Source: Ramesh et al. 2021, Zero-Shot Text-to-Image Generation.
    """

    first_width: int = 128
    """Channels that the decoder starts with."""

    def encoder(self, config: TokenizerConfig) -> DVAEEncoder:
        return DVAEEncoder(config)

    def decoder(self, config: TokenizerConfig) -> DVAEDecoder:
        return DVAEDecoder(config, self)


class DVAEEncoder(nn.Module):
    """Pictures → latents. Where the latents are as wide as the last level, nothing but a ReLU ends it.

    Example:
        >>> import torch
        >>> config = TokenizerConfig(factor=2, width=8, latent_width=6)
        >>> DVAEEncoder(config)(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 6, 4, 4])
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        widths = level_widths(config)
        self.first = nn.Conv2d(config.channels, widths[0], 7, padding=3)
        self.levels = _levels(widths[0], widths, config.blocks, (3, 3, 3, 1))
        same = widths[-1] == config.latent_width
        self.last = nn.Identity() if same else nn.Conv2d(widths[-1], config.latent_width, 1)

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        x = self.levels[0](self.first(0.5 + (0.5 - MARGIN) * pictures))
        for level in self.levels[1:]:
            x = level(F.max_pool2d(x, 2))
        return self.last(F.relu(x))


class DVAEDecoder(nn.Module):
    r"""Latents → pictures, as the mean of a logistic between the margins.

    .. math:: \hat x = \frac{\sigma(s) - 1/2}{1/2 - \epsilon}

    Example:
        >>> import torch
        >>> config = TokenizerConfig(factor=2, width=8, latent_width=6)
        >>> DVAEDecoder(config, DVAE())(torch.zeros(1, 6, 4, 4)).shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(self, config: TokenizerConfig, options: DVAE) -> None:
        super().__init__()
        widths = level_widths(config)[::-1]
        self.first = nn.Conv2d(config.latent_width, options.first_width, 1)
        self.levels = _levels(options.first_width, widths, config.blocks, (1, 3, 3, 3))
        self.last = nn.Conv2d(widths[-1], config.channels, 1)

    def forward(self, latents: Float[Tensor, "B D h w"]) -> Float[Tensor, "B C H W"]:
        x = self.levels[0](self.first(latents))
        for level in self.levels[1:]:
            x = level(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return (torch.sigmoid(self.last(F.relu(x))) - 0.5) / (0.5 - MARGIN)


class Bottleneck(nn.Module):
    r"""Four convolutions, a quarter as wide inside, each after a ReLU; the input is carried around them.

    .. math:: y = S x + g\, C_4 \rho C_3 \rho C_2 \rho C_1 \rho x

    Arguments:
        width, out_width: channels in and out.
        sides: of the four kernels.
        gain: g.

    Example:
        >>> import torch
        >>> Bottleneck(4, 8, (3, 3, 3, 1), 0.1)(torch.zeros(1, 4, 5, 5)).shape
        torch.Size([1, 8, 5, 5])
    """

    def __init__(self, width: int, out_width: int, sides: Sequence[int], gain: float) -> None:
        super().__init__()
        inner, self.gain = max(1, out_width // 4), gain
        channels = [width, inner, inner, inner, out_width]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels[i], channels[i + 1], side, padding=side // 2) for i, side in enumerate(sides)
        )
        self.skip = nn.Identity() if width == out_width else nn.Conv2d(width, out_width, 1)

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B F H W"]:
        y = x
        for convolution in self.convolutions:
            y = convolution(F.relu(y))
        return self.skip(x) + self.gain * y


def _levels(width: int, widths: Sequence[int], blocks: int, sides: Sequence[int]) -> nn.ModuleList:
    """Blocks of each level; the gain is 1 / (number of all blocks)²."""
    levels, gain = nn.ModuleList(), 1 / (len(widths) * blocks) ** 2
    for out in widths:
        entries = [width, *[out] * (blocks - 1)]
        levels.append(nn.Sequential(*(Bottleneck(entry, out, sides, gain) for entry in entries)))
        width = out
    return levels
