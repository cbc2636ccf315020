"""No first stage: the latents are the pixels themselves."""

from __future__ import annotations

import dataclasses

from torch import nn

from caselli.errors import UserError
from caselli.tokenizer.base import Architecture
from caselli.tokenizer.config import TokenizerConfig


@dataclasses.dataclass(frozen=True)
class Pixels(Architecture):
    """Encoder and decoder that change nothing, for a prior on the pixels; `uniform` makes them codes.

    Sources: van den Oord, Kalchbrenner and Kavukcuoglu 2016, Pixel Recurrent Neural Networks; Chen et al.
    2020, Generative Pretraining from Pixels.
    """

    def encoder(self, config: TokenizerConfig) -> nn.Module:
        if config.factor != 1 or config.latent_width != config.channels:
            raise UserError(
                f"factor {config.factor} and latent_width {config.latent_width} were given",
                f"1 and {config.channels} were expected by the pixels architecture, which changes nothing",
            )
        return nn.Identity()

    def decoder(self, config: TokenizerConfig) -> nn.Module:
        return nn.Identity()
