"""The encoder and decoder of the published Open-MAGVIT2, with its exact arithmetic."""

from __future__ import annotations

import dataclasses
import itertools

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.layer import GroupNorm, ResidualBlock
from caselli.shapes import Float, Tensor
from caselli.tokenizer.base import Architecture, level_widths
from caselli.tokenizer.config import TokenizerConfig


@dataclasses.dataclass(frozen=True)
class MAGVIT2(Architecture):
    """The published Open-MAGVIT2: residual blocks without biases and without attention, upsampling by
    rearranged channels, and a decoder whose levels begin with a normalisation by the codes' own statistics.

    Every level takes one pixel at a time: the configuration's `patch` and resamplers are not used.

    Source: Luo et al. 2024, Open-MAGVIT2: An Open-Source Project Toward Democratizing Auto-regressive Visual
    Generation.
    """

    groups: int = 32
    """Groups of every normalisation; channels of each level are a multiple."""

    def encoder(self, config: TokenizerConfig) -> MAGVIT2Encoder:
        return MAGVIT2Encoder(config, self)

    def decoder(self, config: TokenizerConfig) -> MAGVIT2Decoder:
        return MAGVIT2Decoder(config, self)

    def norm(self, width: int) -> GroupNorm:
        """The normalisation of `width` channels."""
        if self.groups < 1 or width % self.groups:
            raise UserError(
                f"a level of {width} channels and {self.groups} groups were given",
                "a width that is a multiple of the groups was expected",
            )
        return GroupNorm(self.groups, width, eps=1e-6)

    def blocks(self, width: int, out: int, number: int) -> nn.Sequential:
        """Residual blocks of one level."""
        widths = [width, *[out] * number]
        return nn.Sequential(
            *(ResidualBlock(a, b, self.norm, bias=False) for a, b in itertools.pairwise(widths))
        )


class MAGVIT2Encoder(nn.Module):
    """Pictures → latents.

    Example:
        >>> config = TokenizerConfig(factor=2, width=32, latent_width=6)
        >>> MAGVIT2Encoder(config, MAGVIT2())(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 6, 4, 4])
    """

    def __init__(self, config: TokenizerConfig, options: MAGVIT2) -> None:
        super().__init__()
        widths = level_widths(config)
        width = widths[0]
        self.first = nn.Conv2d(config.channels, width, 3, padding=1, bias=False)
        self.levels, self.halves = nn.ModuleList(), nn.ModuleList()
        for level, out in enumerate(widths):
            self.levels.append(options.blocks(width, out, config.blocks))
            if level + 1 < len(widths):
                self.halves.append(nn.Conv2d(out, out, 3, stride=2, padding=1))
            width = out
        self.middle = options.blocks(width, width, config.blocks)
        self.norm = options.norm(width)
        self.last = nn.Conv2d(width, config.latent_width, 1)

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        x = self.first(pictures)
        for number, level in enumerate(self.levels):
            x = level(x)
            if number < len(self.halves):
                x = self.halves[number](x)
        return self.last(F.silu(self.norm(self.middle(x))))


class MAGVIT2Decoder(nn.Module):
    """Latents → pictures; `levels` run from the coarsest to the finest.

    Example:
        >>> config = TokenizerConfig(factor=2, width=32, latent_width=6)
        >>> MAGVIT2Decoder(config, MAGVIT2())(torch.zeros(1, 6, 4, 4)).shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(self, config: TokenizerConfig, options: MAGVIT2) -> None:
        super().__init__()
        widths = level_widths(config)[::-1]
        width = widths[0]
        self.first = nn.Conv2d(config.latent_width, width, 3, padding=1)
        self.middle = options.blocks(width, width, config.blocks)
        self.styles, self.levels, self.doubles = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level, out in enumerate(widths):
            self.styles.append(StyleNorm(config.latent_width, width, options))
            self.levels.append(options.blocks(width, out, config.blocks))
            if level + 1 < len(widths):
                double = nn.Conv2d(out, 4 * out, 3, padding=1)
                self.doubles.append(nn.Sequential(double, nn.PixelShuffle(2)))
            width = out
        self.norm = options.norm(width)
        self.last = nn.Conv2d(width, config.channels, 3, padding=1)

    def forward(self, latents: Float[Tensor, "B D h w"]) -> Float[Tensor, "B C H W"]:
        x = self.middle(self.first(latents))
        for number, (style, level) in enumerate(zip(self.styles, self.levels, strict=True)):
            x = level(style(x, latents))
            if number < len(self.doubles):
                x = self.doubles[number](x)
        return self.last(F.silu(self.norm(x)))


class StyleNorm(nn.Module):
    r"""Group normalisation, scaled and shifted by the latents' own deviation and mean over the picture.

    .. math:: y = (W_\gamma \sigma(q) + b_\gamma) \odot N x + W_\beta \mu(q) + b_\beta

    Example:
        >>> x = StyleNorm(6, 32, MAGVIT2())(torch.zeros(1, 32, 4, 4), torch.zeros(1, 6, 2, 2))
        >>> x.shape
        torch.Size([1, 32, 4, 4])
    """

    def __init__(self, latent_width: int, width: int, options: MAGVIT2) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(options.norm(width).num_groups, width, eps=1e-6, affine=False)
        self.gamma, self.beta = nn.Linear(latent_width, width), nn.Linear(latent_width, width)
        for layer in (self.gamma, self.beta):
            nn.init.normal_(layer.weight, std=0.02)
        nn.init.ones_(self.gamma.bias)  # a plain normalisation at first
        nn.init.zeros_(self.beta.bias)

    def forward(
        self, x: Float[Tensor, "B F H W"], latents: Float[Tensor, "B D h w"]
    ) -> Float[Tensor, "B F H W"]:
        points = latents.flatten(2)
        scale = self.gamma((points.var(2) + 1e-6).sqrt())  # the unbiased variance, as published
        shift = self.beta(points.mean(2))
        return torch.addcmul(shift[..., None, None], scale[..., None, None], self.norm(x))
