"""The encoder and decoder of the published TiTok, with its exact arithmetic."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from caselli.layer import TransformerBlock
from caselli.shapes import Float, Tensor
from caselli.tokenizer.base import TokenArchitecture
from caselli.tokenizer.config import TokenizerConfig
from caselli.tokenizer.maskgit import PixelDecoder


@dataclasses.dataclass(frozen=True)
class TiTok(TokenArchitecture):
    """The published TiTok: a Vision Transformer over patches and T latent tokens, and another that turns mask
    tokens and latents into patches; codes are `B T`.

    A patch has the configuration's `factor` pixels a side, a picture its `size`. The decoder gives pixels, or
    the likeliness of codes of another VQGAN, whose decoder then makes the picture.

    Source: Yu et al. 2024, An Image is Worth 32 Tokens for Reconstruction and Generation.
    """

    model_width: int = 512
    """E, channels of each token inside."""
    depth: int = 8
    """Layers of the encoder, and of the decoder."""
    heads: int = 8
    """Attention heads; divides `model_width`."""
    reshaped: bool = False
    """True where tokens and channels are read in each other's order before the last projection, as by the
    first published models."""
    pixel_codes: int = 0
    """Codes of the other VQGAN; 0 for a decoder that gives pixels."""
    pixel_width: int = 256
    """Width of those codes."""
    pixel_channels: tuple[int, ...] = (128, 128, 256, 256, 512)
    """Channels of that VQGAN's decoder at each level, finest first."""
    pixel_blocks: int = 2
    """Residual blocks of each of those levels."""
    groups: int = 32
    """Groups of its normalisations."""

    def encoder(self, config: TokenizerConfig) -> TiTokEncoder:
        return TiTokEncoder(config, self)

    def decoder(self, config: TokenizerConfig) -> TiTokDecoder:
        return TiTokDecoder(config, self)

    def transformer(self) -> Transformer:
        """One of both."""
        return Transformer(self)


class Transformer(nn.Module):
    """Layers between two normalisations."""

    def __init__(self, options: TiTok) -> None:
        super().__init__()
        width = options.model_width
        self.before, self.behind = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, options.heads) for _ in range(options.depth)))

    def forward(self, x: Float[Tensor, "B T E"], kept: slice) -> Float[Tensor, "B N E"]:
        return self.behind(self.blocks(self.before(x))[:, kept])


class TiTokEncoder(nn.Module):
    """Pictures in [−1, 1] → latents `B D T`.

    Example:
        >>> config = TokenizerConfig(factor=4, size=16, latent_width=6)
        >>> TiTokEncoder(config, TiTok(5, 16, 1, 2))(torch.zeros(1, 3, 16, 16)).shape
        torch.Size([1, 6, 5])
    """

    def __init__(self, config: TokenizerConfig, options: TiTok) -> None:
        super().__init__()
        places, width = options.side(config) ** 2, options.model_width
        self.patches = nn.Conv2d(config.channels, width, config.factor, stride=config.factor)
        self.whole, self.positions = learned(1, width), learned(places + 1, width)
        self.tokens, self.token_positions = learned(options.tokens, width), learned(options.tokens, width)
        self.transformer = options.transformer()
        self.last = nn.Linear(width, config.latent_width)
        self.reshaped = options.reshaped

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D T"]:
        patches = self.patches((pictures + 1) / 2).flatten(2).transpose(1, 2)  # its pixels lie in [0, 1]
        batch = patches.shape[0]  # not len, which would fix it in an exported program
        whole = self.whole.expand(batch, 1, -1)
        tokens = (self.tokens + self.token_positions).expand(batch, -1, -1)
        x = torch.cat((torch.cat((whole, patches), 1) + self.positions, tokens), 1)
        y = self.transformer(x, slice(-tokens.shape[1], None))
        if self.reshaped:
            y = y.reshape(y.shape[0], y.shape[2], y.shape[1]).transpose(1, 2)
        return self.last(y).transpose(1, 2)


class TiTokDecoder(nn.Module):
    """Latents `B D T` → pictures in [−1, 1].

    Example:
        >>> config = TokenizerConfig(factor=4, size=16, latent_width=6)
        >>> TiTokDecoder(config, TiTok(5, 16, 1, 2))(torch.zeros(1, 6, 5)).shape
        torch.Size([1, 3, 16, 16])
    """

    def __init__(self, config: TokenizerConfig, options: TiTok) -> None:
        super().__init__()
        self.side, width = options.side(config), options.model_width
        self.first = nn.Linear(config.latent_width, width)
        self.whole, self.mask = learned(1, width), learned(1, width)
        self.positions = learned(self.side**2 + 1, width)
        self.token_positions = learned(options.tokens, width)
        self.transformer = options.transformer()
        self.picture = CodedPixels(options) if options.pixel_codes else Pixels(config, options)

    def forward(self, latents: Float[Tensor, "B D T"]) -> Float[Tensor, "B C H W"]:
        tokens = self.first(latents.transpose(1, 2)) + self.token_positions
        places = self.side**2
        masks = torch.cat((self.whole, self.mask.expand(places, -1))) + self.positions
        x = torch.cat((masks.expand(tokens.shape[0], -1, -1), tokens), 1)
        y = self.transformer(x, slice(1, 1 + places))
        grid = y.transpose(1, 2).unflatten(2, (self.side, self.side))
        return 2 * self.picture(grid) - 1


class Pixels(nn.Module):
    """Vectors of patches → their pixels in [0, 1], and a convolution over the seams."""

    def __init__(self, config: TokenizerConfig, options: TiTok) -> None:
        super().__init__()
        channels = config.channels
        self.pixels = nn.Conv2d(options.model_width, channels * config.factor**2, 1)
        self.shuffle = nn.PixelShuffle(config.factor)
        self.last = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, grid: Float[Tensor, "B E h w"]) -> Float[Tensor, "B C H W"]:
        return self.last(self.shuffle(self.pixels(grid)))


class CodedPixels(nn.Module):
    """Vectors of patches → the mean code of another VQGAN, and its decoder."""

    def __init__(self, options: TiTok) -> None:
        super().__init__()
        width = options.model_width
        self.up, self.down = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(2 * width, options.pixel_codes, 1)
        self.codebook = nn.Embedding(options.pixel_codes, options.pixel_width)
        channels = list(options.pixel_channels)
        sizes = (options.pixel_blocks, options.groups, 3)
        self.decoder = PixelDecoder(options.pixel_width, channels, *sizes)

    def forward(self, grid: Float[Tensor, "B E h w"]) -> Float[Tensor, "B C H W"]:
        likely = self.down(self.up(grid).tanh()).softmax(1)
        return self.decoder(torch.einsum("bkhw,kd->bdhw", likely, self.codebook.weight))


def learned(number: int, width: int) -> nn.Parameter:
    """Vectors that are learned."""
    return nn.Parameter(width**-0.5 * torch.randn(number, width))
