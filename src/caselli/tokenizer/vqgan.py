"""The encoder and decoder of the published VQGAN, with its exact arithmetic."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.layer import GroupNorm, Nearest, ResidualBlock, SpatialAttention
from caselli.shapes import Float, Tensor
from caselli.tokenizer.base import Architecture, level_widths
from caselli.tokenizer.config import TokenizerConfig

Norm = Callable[[int], nn.Module]


@dataclasses.dataclass(frozen=True)
class VQGAN(Architecture):
    """The published VQGAN: group normalisation (ε = 1e-6), padding at the far edges before strided
    convolutions, a middle of two blocks with attention between, 1×1 convolutions around the quantizer.

    Every level takes one pixel at a time: the configuration's `patch` and resamplers are not used. Decoder
    levels have one block more than the encoder's. Checkpoints of taming-transformers, LlamaGen and diffusers
    have this form.

    Source: Esser, Rombach and Ommer 2021, Taming Transformers for High-Resolution Image Synthesis.
    """

    groups: int = 32
    """Groups of every normalisation; channels of each level are a multiple."""
    first_width: int | None = None
    """Channels of the encoder's first convolution; None for those of the finest level."""
    encoded_width: int | None = None
    """Channels that the encoder ends with, before the 1×1 convolution; None for the latents' width."""
    decoded_width: int | None = None
    """Channels that the decoder starts with, after the 1×1 convolution; None for the latents' width."""
    middle_attention: bool = True
    """True for attention in the middle."""
    latent_kernel: int = 1
    """Side of the convolutions around the quantizer, odd."""

    def encoder(self, config: TokenizerConfig) -> VQGANEncoder:
        return VQGANEncoder(config, self)

    def decoder(self, config: TokenizerConfig) -> VQGANDecoder:
        return VQGANDecoder(config, self)

    def norm(self, width: int) -> GroupNorm:
        """The normalisation of `width` channels."""
        if self.groups < 1 or width % self.groups:
            raise UserError(
                f"a level of {width} channels and {self.groups} groups were given",
                "a width that is a multiple of the groups was expected",
                f"try --tokenizer.width {self.groups}, or --tokenizer.architecture_options.groups",
            )
        return GroupNorm(self.groups, width, eps=1e-6)


class VQGANEncoder(nn.Module):
    """Pictures → latents.

    Example:
        >>> import torch
        >>> config = TokenizerConfig(factor=2, width=32, latent_width=6)
        >>> VQGANEncoder(config, VQGAN())(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 6, 4, 4])
    """

    def __init__(self, config: TokenizerConfig, options: VQGAN) -> None:
        super().__init__()
        widths = level_widths(config)
        width = options.first_width or widths[0]
        encoded = options.encoded_width or config.latent_width
        self.first = nn.Conv2d(config.channels, width, 3, padding=1)
        self.levels = nn.ModuleList()
        for level, out in enumerate(widths):
            steps = _steps(width, out, config.blocks, 2**level in config.attention, options.norm)
            deepest = level == len(widths) - 1
            self.levels.append(Level(steps, nn.Identity() if deepest else FarEdgeConvolution(out)))
            width = out
        self.middle = _middle(width, options)
        self.norm = options.norm(width)
        self.last = nn.Conv2d(width, encoded, 3, padding=1)
        self.to_latents = _outer(encoded, config.latent_width, options)

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        x = self.first(pictures)
        for level in self.levels:
            x = level(x)
        return self.to_latents(self.last(F.silu(self.norm(self.middle(x)))))


class VQGANDecoder(nn.Module):
    """Latents → pictures; `levels` run from the coarsest to the finest.

    Example:
        >>> import torch
        >>> config = TokenizerConfig(factor=2, width=32, latent_width=6)
        >>> VQGANDecoder(config, VQGAN())(torch.zeros(1, 6, 4, 4)).shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(self, config: TokenizerConfig, options: VQGAN) -> None:
        super().__init__()
        widths = level_widths(config)[::-1]
        width, decoded = widths[0], options.decoded_width or config.latent_width
        self.from_latents = _outer(config.latent_width, decoded, options)
        self.first = nn.Conv2d(decoded, width, 3, padding=1)
        self.middle = _middle(width, options)
        self.levels = nn.ModuleList()
        for level, out in enumerate(widths):
            factor = 2 ** (len(widths) - 1 - level)
            steps = _steps(width, out, config.blocks + 1, factor in config.attention, options.norm)
            self.levels.append(Level(steps, Nearest(out) if factor > 1 else nn.Identity()))
            width = out
        self.norm = options.norm(width)
        self.last = nn.Conv2d(width, config.channels, 3, padding=1)

    def forward(self, latents: Float[Tensor, "B D h w"]) -> Float[Tensor, "B C H W"]:
        x = self.middle(self.first(self.from_latents(latents)))
        for level in self.levels:
            x = level(x)
        return self.last(F.silu(self.norm(x)))


class Step(nn.Sequential):
    """A residual block, and attention where the level has it."""


class Level(nn.Module):
    """Steps at one resolution, then the change to the next."""

    def __init__(self, steps: Iterable[Step], resample: nn.Module) -> None:
        super().__init__()
        self.steps, self.resample = nn.Sequential(*steps), resample

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B F h w"]:
        return self.resample(self.steps(x))


class FarEdgeConvolution(nn.Module):
    r"""Half the size by a 3×3 convolution that is padded below and to the right alone.

    .. math:: y_o = \sum_{k=0}^{2} W_k\, x_{2o + k}

    Example:
        >>> import torch
        >>> FarEdgeConvolution(4)(torch.zeros(1, 4, 6, 8)).shape
        torch.Size([1, 4, 3, 4])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Float[Tensor, "B D H W"]) -> Float[Tensor, "B D h w"]:
        return self.convolution(F.pad(x, (0, 1, 0, 1)))


def _steps(width: int, out: int, blocks: int, attention: bool, norm: Norm) -> list[Step]:
    steps = []
    for _ in range(blocks):
        extra = [SpatialAttention(out, norm=norm)] if attention else []
        steps.append(Step(ResidualBlock(width, out, norm=norm), *extra))
        width = out
    return steps


def _outer(width: int, out: int, options: VQGAN) -> nn.Conv2d:
    """A convolution beside the quantizer."""
    return nn.Conv2d(width, out, options.latent_kernel, padding=options.latent_kernel // 2)


def _middle(width: int, options: VQGAN) -> nn.Sequential:
    between = SpatialAttention(width, norm=options.norm) if options.middle_attention else nn.Identity()
    ends = [ResidualBlock(width, width, norm=options.norm) for _ in range(2)]
    return nn.Sequential(ends[0], between, ends[1])
