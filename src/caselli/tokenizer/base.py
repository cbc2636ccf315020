"""The contract of every architecture: an encoder and a decoder, and what they make of a picture's size."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import ClassVar

from torch import nn

from caselli.errors import UserError
from caselli.tokenizer.config import TokenizerConfig


@dataclasses.dataclass(frozen=True)
class Architecture(ABC):
    """Builds an encoder (pictures → latents `B D *S`) and the decoder that mirrors it.

    An architecture extends this record, is final, has its own arguments as fields with defaults, and takes
    the rest from the tokenizer's configuration.
    """

    keeps_pixels: ClassVar[bool] = False
    """True where the quantizer's codes are the pixels' own grey levels, and stand for nothing else."""

    @abstractmethod
    def encoder(self, config: TokenizerConfig) -> nn.Module:
        """`encoder(pictures) -> latents`."""

    @abstractmethod
    def decoder(self, config: TokenizerConfig) -> nn.Module:
        """`decoder(latents) -> pictures`."""

    def latent_shape(self, config: TokenizerConfig, size: tuple[int, int]) -> tuple[int, ...]:
        """*S, the latents' spatial axes, for pictures of `size` (height, width) pixels."""
        return (size[0] // config.factor, size[1] // config.factor)

    def check(self, config: TokenizerConfig, size: tuple[int, int]) -> None:
        """Raises `UserError` for pictures of a size that this tokenizer cannot take."""
        factor = config.factor
        if size[0] % factor or size[1] % factor:
            raise UserError(
                f"pictures of {size[0]}×{size[1]} were given",
                f"a size that {factor} divides was expected",
                f"try --size {max(factor, round(min(size) / factor) * factor)}",
            )


@dataclasses.dataclass(frozen=True)
class TokenArchitecture(Architecture):
    """An architecture of patches for pictures of one size, whose codes lie on one axis and have no places."""

    tokens: int = 32
    """T, codes of a picture."""

    def latent_shape(self, config: TokenizerConfig, size: tuple[int, int]) -> tuple[int, ...]:
        return (self.tokens,)

    def check(self, config: TokenizerConfig, size: tuple[int, int]) -> None:
        super().check(config, size)
        if size != (config.size, config.size):
            raise UserError(
                f"pictures of {size[0]}×{size[1]} were given",
                f"{config.size}×{config.size} was expected: this tokenizer is made for one size",
                f"try --size {config.size}",
            )

    def side(self, config: TokenizerConfig) -> int:
        """Patches along each side of a picture."""
        if config.size < config.factor or config.size % config.factor:
            raise UserError(
                f"size {config.size} was given to the {config.architecture} architecture",
                f"the pictures' size, which factor {config.factor} divides, was expected",
                "set size in the tokenizer's configuration",
            )
        return config.size // config.factor


def level_widths(config: TokenizerConfig) -> list[int]:
    """Channels of each level, finest first, for architectures that take one pixel at a time.

    Errors: `UserError` where a level would have no block.

    Example:
        >>> level_widths(TokenizerConfig(factor=4, patch=2, width=32, multipliers=(1, 2)))
        [32, 64, 64]
    """
    if config.blocks < 1:
        raise UserError(
            f"blocks {config.blocks} was given",
            f"at least 1 was expected by the {config.architecture} architecture",
        )
    return dataclasses.replace(config, patch=1).widths()
