"""A Vision Transformer tokenizer whose codes lie on one axis: what they stand for is learned, not where."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from caselli.errors import UserError
from caselli.layer import TransformerBlock
from caselli.shapes import Float, Tensor
from caselli.tokenizer.base import TokenArchitecture
from caselli.tokenizer.config import TokenizerConfig


@dataclasses.dataclass(frozen=True)
class ViT(TokenArchitecture):
    """A Vision Transformer with 1-D latents: patches and T latent tokens go in, the tokens are quantized,
    and mask tokens become the picture again; codes are `B T`.

    Latent tokens start as learned mixtures of all patches, mask tokens as learned mixtures of all latents:
    attention alone, alike everywhere at first, is slow to tell tokens apart, and codes collapse meanwhile.

    A patch has the configuration's `factor` pixels a side. Pictures have one size, the configuration's
    `size`; `caselli train` sets it to that of the pictures. The configuration's `width`, `multipliers`,
    `patch`, `blocks` and resamplers are not used.

    Source: Yu et al. 2024, An Image is Worth 32 Tokens for Reconstruction and Generation.
    """

    model_width: int = 256
    """E, channels of each token inside."""
    depth: int = 4
    """Layers of the encoder, and of the decoder."""
    heads: int = 4
    """Attention heads; divides `model_width`."""
    expansion: float = 4.0
    """The MLP's inner width, in units of `model_width`."""

    def encoder(self, config: TokenizerConfig) -> ViTEncoder:
        return ViTEncoder(config, self)

    def decoder(self, config: TokenizerConfig) -> ViTDecoder:
        return ViTDecoder(config, self)

    def side(self, config: TokenizerConfig) -> int:
        if min(self.tokens, self.depth, self.model_width) < 1:
            raise UserError(
                f"tokens {self.tokens}, depth {self.depth}, model_width {self.model_width} were given",
                "at least 1 of each was expected",
            )
        return super().side(config)

    def blocks(self) -> nn.Sequential:
        """The layers of one of both."""
        layers = (TransformerBlock(self.model_width, self.heads, self.expansion) for _ in range(self.depth))
        return nn.Sequential(*layers)


class ViTEncoder(nn.Module):
    """Pictures → latents `B D T`: what T learned tokens gather from the patches.

    Example:
        >>> config = TokenizerConfig(factor=4, size=16, latent_width=6)
        >>> ViTEncoder(config, ViT(tokens=5))(torch.zeros(1, 3, 16, 16)).shape
        torch.Size([1, 6, 5])
    """

    def __init__(self, config: TokenizerConfig, options: ViT) -> None:
        super().__init__()
        side, width = options.side(config), options.model_width
        self.patches = nn.Conv2d(config.channels, width, config.factor, stride=config.factor)
        self.positions = _learned(side * side, width)
        self.tokens = _learned(options.tokens, width)
        self.mixture = _mixture(options.tokens, side * side)
        self.blocks = options.blocks()
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, config.latent_width)

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D T"]:
        patches = self.patches(pictures).flatten(2).transpose(1, 2) + self.positions
        tokens = self.tokens + self.mixture @ patches
        x = self.blocks(torch.cat((tokens, patches), 1))
        return self.last(self.norm(x[:, : tokens.shape[1]])).transpose(1, 2)


class ViTDecoder(nn.Module):
    """Latents `B D T` → pictures: what a mask token at each patch's place gathers from the latents.

    Example:
        >>> config = TokenizerConfig(factor=4, size=16, latent_width=6)
        >>> ViTDecoder(config, ViT(tokens=5))(torch.zeros(1, 6, 5)).shape
        torch.Size([1, 3, 16, 16])
    """

    def __init__(self, config: TokenizerConfig, options: ViT) -> None:
        super().__init__()
        self.side, width = options.side(config), options.model_width
        self.first = nn.Linear(config.latent_width, width)
        self.token_positions = _learned(options.tokens, width)
        self.masks = _learned(self.side**2, width)  # the mask vector and each place's position, added up
        self.mixture = _mixture(self.side**2, options.tokens)
        self.blocks = options.blocks()
        self.norm = nn.LayerNorm(width)
        self.pixels = nn.Linear(width, config.channels * config.factor**2)
        self.shuffle = nn.PixelShuffle(config.factor)
        self.last = nn.Conv2d(config.channels, config.channels, 3, padding=1)  # smooths the patches' seams
        nn.init.dirac_(self.last.weight)

    def forward(self, latents: Float[Tensor, "B D T"]) -> Float[Tensor, "B C H W"]:
        tokens = self.first(latents.transpose(1, 2)) + self.token_positions
        masks = self.masks + self.mixture @ tokens
        x = self.blocks(torch.cat((masks, tokens), 1))[:, : masks.shape[1]]
        patches = self.pixels(self.norm(x)).transpose(1, 2).unflatten(2, (self.side, self.side))
        return self.last(self.shuffle(patches))


def _learned(number: int, width: int) -> nn.Parameter:
    return nn.Parameter(0.02 * torch.randn(number, width))


def _mixture(outputs: int, inputs: int) -> nn.Parameter:
    """Random weights under which a mixture is as large as what is mixed."""
    return nn.Parameter(inputs**-0.5 * torch.randn(outputs, inputs))
