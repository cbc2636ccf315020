"""The encoder and decoder of MaskGIT's published VQGAN, with its exact arithmetic."""

from __future__ import annotations

import dataclasses
import itertools

import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.layer import GroupNorm
from caselli.shapes import Float, Tensor
from caselli.tokenizer.base import Architecture, level_widths
from caselli.tokenizer.config import TokenizerConfig


@dataclasses.dataclass(frozen=True)
class MaskGIT(Architecture):
    """MaskGIT's published VQGAN: residual blocks without biases and without attention, averages on the way
    down, nearest neighbours and a convolution on the way up, pixels in [0, 1] inside.

    Every level takes one pixel at a time: the configuration's `patch` and resamplers are not used.

    Source: Chang et al. 2022, MaskGIT: Masked Generative Image Transformer.
    """

    groups: int = 32
    """Groups of every normalisation; channels of each level are a multiple."""
    convolved: bool = False
    """True where a convolution leads down, as in MaskBit's, and not an average."""

    def encoder(self, config: TokenizerConfig) -> MaskGITEncoder:
        return MaskGITEncoder(config, self.groups, self.convolved)

    def decoder(self, config: TokenizerConfig) -> MaskGITDecoder:
        channels = level_widths(config)
        return MaskGITDecoder(config.latent_width, channels, config.blocks, self.groups, config.channels)


class MaskGITEncoder(nn.Module):
    """Pictures in [−1, 1] → latents.

    Example:
        >>> import torch
        >>> config = TokenizerConfig(factor=2, width=32, latent_width=6)
        >>> MaskGITEncoder(config, groups=32)(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 6, 4, 4])
    """

    def __init__(self, config: TokenizerConfig, groups: int, convolved: bool = False) -> None:
        super().__init__()
        widths = level_widths(config)
        width = widths[0]
        self.first = nn.Conv2d(config.channels, width, 3, padding=1, bias=False)
        self.levels = nn.ModuleList()
        for out in widths:
            self.levels.append(blocks(width, out, config.blocks, groups))
            width = out
        self.halves = nn.ModuleList(halve(out, convolved) for out in widths[:-1])
        self.middle = blocks(width, width, config.blocks, groups)
        self.norm = norm(groups, width)
        self.last = nn.Conv2d(width, config.latent_width, 1)

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        x = self.first((pictures + 1) / 2)
        for number, level in enumerate(self.levels):
            x = level(self.halves[number - 1](x) if number else x)
        return self.last(F.silu(self.norm(self.middle(x))))


class PixelDecoder(nn.Module):
    """Latents → pixels in [0, 1]; `levels` run from the coarsest to the finest.

    Arguments:
        latent_width: D.
        widths: channels of each level, finest first.
        number: residual blocks of each level.
        groups: groups of the normalisations.
        channels: of the pictures.

    Example:
        >>> import torch
        >>> PixelDecoder(6, [32, 32], 1, 32, 3)(torch.zeros(1, 6, 4, 4)).shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(self, latent_width: int, widths: list[int], number: int, groups: int, channels: int) -> None:
        super().__init__()
        width = widths[-1]
        self.first = nn.Conv2d(latent_width, width, 3, padding=1)
        self.middle = blocks(width, width, number, groups)
        self.levels, self.doubles = nn.ModuleList(), nn.ModuleList()
        for level, out in enumerate(widths[::-1]):
            self.levels.append(blocks(width, out, number, groups))
            if level + 1 < len(widths):
                double = nn.Conv2d(out, out, 3, padding=1)
                self.doubles.append(nn.Sequential(nn.Upsample(scale_factor=2.0), double))
            width = out
        self.norm = norm(groups, width)
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "B D h w"]) -> Float[Tensor, "B C H W"]:
        x = self.middle(self.first(x))
        for number, level in enumerate(self.levels):
            x = level(x)
            if number < len(self.doubles):
                x = self.doubles[number](x)
        return self.last(F.silu(self.norm(x)))


class MaskGITDecoder(PixelDecoder):
    """Latents → pictures in [−1, 1]."""

    def forward(self, x: Float[Tensor, "B D h w"]) -> Float[Tensor, "B C H W"]:
        return 2 * super().forward(x) - 1


class MaskGITBlock(nn.Module):
    r"""A residual block without biases; where the width changes it carries a projection of its own output.

    .. math:: h = C_2\,\mathrm{SiLU}(N_2\, C_1\,\mathrm{SiLU}(N_1 x)), \qquad y = x + h \ \text{ or }\ h + S h

    Example:
        >>> import torch
        >>> MaskGITBlock(32, 64, 32)(torch.zeros(1, 32, 4, 4)).shape
        torch.Size([1, 64, 4, 4])
    """

    def __init__(self, width: int, out: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(groups, width), norm(groups, out)
        self.conv1 = nn.Conv2d(width, out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.skip = None if width == out else nn.Conv2d(out, out, 1, bias=False)

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B F H W"]:
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return h + (x if self.skip is None else self.skip(h))


def halve(width: int, convolved: bool) -> nn.Module:
    """One step down, to half of the height and width."""
    if not convolved:
        return nn.AvgPool2d(2)
    return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(width, width, 3, stride=2))


def blocks(width: int, out: int, number: int, groups: int) -> nn.Sequential:
    """Residual blocks of one level."""
    widths = [width, *[out] * number]
    return nn.Sequential(*(MaskGITBlock(a, b, groups) for a, b in itertools.pairwise(widths)))


def norm(groups: int, width: int) -> GroupNorm:
    """The normalisation of `width` channels."""
    if groups < 1 or width % groups:
        raise UserError(
            f"a level of {width} channels and {groups} groups were given",
            "a width that is a multiple of the groups was expected",
        )
    return GroupNorm(groups, width, eps=1e-6)
