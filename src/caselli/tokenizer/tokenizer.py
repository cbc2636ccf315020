"""Pictures ⟷ codes."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import nn

from caselli.errors import UserError
from caselli.layer import count_parameters
from caselli.quantizer.base import Quantized
from caselli.quantizer.build import build as build_quantizer
from caselli.shapes import Float, Int, Tensor
from caselli.tokenizer.build import build
from caselli.tokenizer.code_noise import exchanged
from caselli.tokenizer.config import TokenizerConfig
from caselli.weights import fingerprint


@dataclasses.dataclass(frozen=True)
class TokenizerReport:
    """Grid, codes and bits that a picture of a given size becomes."""

    grid: tuple[int, ...]
    """Rows and columns of codes, or their number on one axis."""
    codes: int
    """Codes per picture, over all codebooks."""
    bits: float
    """Bits per picture: Σ log₂ of the codebooks' sizes."""
    compression: float
    """Bits of the 8-bit picture per bit of code."""
    parameters: int
    """Weights in encoder, quantizer and decoder."""

    def __str__(self) -> str:
        layout = "one axis" if len(self.grid) == 1 else f"{self.grid[0]}×{self.grid[1]} grid"
        return (
            f"{layout}, {self.codes} codes, {self.bits:.0f} bits a picture, "
            f"{self.compression:.0f} times smaller, {self.parameters / 1e6:.2f} M parameters"
        )


class Tokenizer(nn.Module):
    """Encoder, quantizer and decoder: `encode(pictures) -> codes`, `decode(codes) -> pictures`.

    Pictures are `B C H W` in [−1, 1], H and W multiples of `config.factor`; codes are `B h w` (`B Q h w` with
    several codebooks), int64. Where the architecture or the quantizer lays codes on one axis they are `B T`;
    `code_shape` says which.

    Example:
        >>> tokenizer = Tokenizer(TokenizerConfig(factor=4, channels=1, width=8, latent_width=4)).eval()
        >>> codes = tokenizer.encode(torch.zeros(2, 1, 8, 8))
        >>> codes.shape, tokenizer.decode(codes).shape
        (torch.Size([2, 2, 2]), torch.Size([2, 1, 8, 8]))
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.architecture = build(config)
        self.encoder = self.architecture.encoder(config)
        self.quantizer = build_quantizer(config.quantizer, config.latent_width, config.quantizer_options)
        self.decoder = self.architecture.decoder(config)
        self.stamp = ""
        """Fingerprint that the codes bear, where another decoder has taken the place of the first one."""

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "B C H W"], Quantized]:
        """The reconstruction (unclamped) and what the quantizer gave."""
        self.check(pictures)
        quantized = self.quantizer(self.encoder(pictures))
        latents = quantized.latents
        if self.training and self.config.code_noise:
            latents = exchanged(latents, self.config.code_noise)
        return self.decoder(latents), quantized

    @torch.no_grad()
    def decode_exchanged(
        self, codes: Int[Tensor, "B *S"], share: float, generator: torch.Generator | None = None
    ) -> Float[Tensor, "B C H W"]:
        """Pictures of codes of which a share is exchanged for similar ones, see `exchanged`."""
        latents = exchanged(self.quantizer.decode(codes), share, generator)
        return self.decoder(latents).float().clamp(-1, 1)

    @torch.no_grad()
    def encode(self, pictures: Float[Tensor, "B C H W"]) -> Int[Tensor, "B *S"]:
        """The pictures' codes."""
        self.check(pictures)
        return self.quantizer.encode(self.encoder(pictures))

    @torch.no_grad()
    def decode(self, codes: Int[Tensor, "B *S"]) -> Float[Tensor, "B C H W"]:
        """The codes' pictures, clamped to [−1, 1]."""
        return self.decoder(self.quantizer.decode(codes)).float().clamp(-1, 1)

    def check(self, pictures: Tensor) -> None:
        """Raises `UserError` for pictures that this tokenizer cannot take."""
        _, channels, height, width = pictures.shape
        if channels != self.config.channels:
            raise UserError(
                f"pictures of {channels} channels were given", f"{self.config.channels} were expected"
            )
        self.architecture.check(self.config, (height, width))

    def code_shape(self, size: tuple[int, int]) -> tuple[int, ...]:
        """*S, the codes' axes without batch and codebooks, for pictures of `size` (height, width) pixels:
        rows and columns, or one axis of T codes.

        Errors: `UserError` for a size that the quantizer was not made for.
        """
        return self.quantizer.code_shape(self.architecture.latent_shape(self.config, size))

    def report(self, size: tuple[int, int]) -> TokenizerReport:
        """Codes, bits, compression and parameters for pictures of `size` (height, width) pixels."""
        grid = self.code_shape(size)
        positions, sizes = math.prod(grid), self.quantizer.sizes
        limits = self.quantizer.code_limits(grid)
        bits = positions * sum(map(math.log2, sizes)) if limits is None else limits.log2().sum().item()
        return TokenizerReport(
            grid=grid,
            codes=positions * len(sizes),
            bits=bits,
            compression=8 * size[0] * size[1] * self.config.channels / bits if bits else math.nan,
            parameters=count_parameters(self),
        )

    def fingerprint(self) -> str:
        """16 hex digits that codes are stamped with; they change with any weight but those of a decoder that
        took the place of the first one."""
        return self.stamp or self.digest()

    def digest(self) -> str:
        """16 hex digits that change with any weight, those of an exchanged decoder too."""
        return fingerprint(self.state_dict())
