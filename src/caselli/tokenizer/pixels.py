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

    keeps_pixels = True

    def encoder(self, config: TokenizerConfig) -> nn.Module:
        expected = {"factor": 1, "latent_width": config.channels, "quantizer": "uniform"}
        for name, value in expected.items():
            if getattr(config, name) != value:
                raise UserError(
                    f"{name} {getattr(config, name)} was given to the architecture pixels",
                    f"{value} was expected: its codes are the pixels themselves",
                )
        return nn.Identity()

    def decoder(self, config: TokenizerConfig) -> nn.Module:
        return nn.Identity()
