"""Recipes of two stages: functions of the pictures they meet, to be read from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Callable

from caselli.data import Pictures
from caselli.engine import TrainingConfig
from caselli.prior import PriorConfig
from caselli.run.config import DataConfig
from caselli.run.two_stage_config import StagesConfig, TwoStageConfig
from caselli.tokenizer import AdversarialConfig, TokenizerConfig
from caselli.tokenizer.config import FACTORS

GUIDANCE = 1.5
"""Strength of labels and captions in drawing: labels are read far oftener, at no cost in distance."""
EARLY_GUIDANCE = 2.0
"""Strength of what a prior has learnt since it was its own guide; entries 105 to 113 of docs/race.md."""


def tiny(pictures: Pictures) -> TwoStageConfig:
    """The demo and the tests: about 16 codes a picture of 32 pixels, 1.5 M and 3 M parameters.

    On glyphs, four and a half minutes on two cores; see the README for what came out.
    """
    factor = nearest_factor(pictures.size, grid=4, largest=8)
    return TwoStageConfig(
        recipe="tiny",
        data=DataConfig(shift=1, views=3),
        tokenizer=TokenizerConfig(
            factor=factor,
            patch=min(2, factor),
            channels=pictures.channels,
            width=64,
            multipliers=(1, 2, 2),
            blocks=1,
            latent_width=32,
        ),
        prior=PriorConfig(width=192, depth=4, guidance=2.0),  # a letter is to be read
        training=StagesConfig(
            tokenizer=TrainingConfig(steps=600, batch=64, learning_rate=2e-3, ema=0.99, validations=5),
            prior=TrainingConfig(
                steps=1000, batch=128, optimiser="muon", learning_rate=8e-3, weight_decay=0.05, ema=0.99
            ),
        ),
    )


def small(pictures: Pictures) -> TwoStageConfig:
    """A real run on a laptop: a grid of about 8×8 codes, 2 M and 6 M parameters.

    Ten minutes on two cores for pictures of 32 to 64 pixels; better with an hour.
    """
    factor = nearest_factor(pictures.size, grid=8, largest=16)
    return TwoStageConfig(
        recipe="small",
        data=DataConfig(shift=max(1, pictures.size // 32), views=4 if len(pictures) < 10_000 else 1),
        tokenizer=TokenizerConfig(
            factor=factor,
            patch=min(2, factor),
            channels=pictures.channels,
            width=64,
            multipliers=(1, 2, 2),
            blocks=1,
            attention=(factor,),
            latent_width=64,
        ),
        prior=PriorConfig(width=256, depth=6, dropout=0.1, guidance=GUIDANCE),
        training=StagesConfig(
            tokenizer=TrainingConfig(steps=5000, batch=32, learning_rate=1e-3, ema=0.995),
            prior=TrainingConfig(
                steps=5000, batch=64, optimiser="muon", learning_rate=5e-3, weight_decay=0.1, ema=0.99
            ),
        ),
    )


def vqgan(pictures: Pictures) -> TwoStageConfig:
    """A laptop's VQGAN: a grid of about 8×8 codes, trained against a discriminator of patches.

    The reconstruction alone for a quarter of the budget, then the discriminator; see the guide's page of the
    VQGAN for what came out. With VGG-16's weights (--tokenizer.vgg FILE) the perceptual term is LPIPS.
    """
    factor = nearest_factor(pictures.size, grid=8, largest=16)
    return TwoStageConfig(
        recipe="vqgan",
        data=DataConfig(shift=max(1, pictures.size // 32), views=4 if len(pictures) < 10_000 else 1),
        tokenizer=TokenizerConfig(
            factor=factor,
            patch=min(2, factor),
            channels=pictures.channels,
            width=32,
            multipliers=(1, 2, 4),
            blocks=1,
            latent_width=64,
            l1=1.0,
            l2=0.0,
            multi_scale=0.0,
            perceptual=1.0,
            adversarial=AdversarialConfig(
                weight=0.5,
                width=32,
                discriminator_options={"layers": 2 if pictures.size <= 64 else 3, "norm": "group"},
                learning_rate=1e-3,  # a slower one is outrun by the tokenizer
            ),
        ),
        prior=PriorConfig(width=256, depth=6, dropout=0.1, guidance=GUIDANCE),
        training=StagesConfig(
            tokenizer=TrainingConfig(steps=5000, batch=16, learning_rate=1e-3, ema=0.995),
            prior=TrainingConfig(
                steps=5000, batch=64, optimiser="muon", learning_rate=5e-3, weight_decay=0.1, ema=0.99
            ),
        ),
    )


def base(pictures: Pictures) -> TwoStageConfig:
    """A run for one GPU and a large set: a grid of about 16×16 codes, 39 M and 139 M parameters.

    For pictures of 256 pixels on a data-centre GPU; `caselli plan` says what it takes, computed and
    not measured.
    """
    factor = nearest_factor(pictures.size, grid=16, largest=16)
    return TwoStageConfig(
        recipe="base",
        data=DataConfig(flip=True, shift=max(1, pictures.size // 32)),
        tokenizer=TokenizerConfig(
            factor=factor,
            patch=1,
            channels=pictures.channels,
            width=128,
            multipliers=(1, 1, 2, 2, 4),
            blocks=2,
            attention=(factor,),
            latent_width=256,
            quantizer_options={"codebook_size": 16384, "code_width": 16, "distance": "cosine"},
        ),
        prior=PriorConfig(width=768, depth=16, dropout=0.1),
        training=StagesConfig(
            tokenizer=TrainingConfig(
                steps=300_000, batch=64, learning_rate=2e-4, warmup=2000, validations=60, ema=0.9995
            ),
            prior=TrainingConfig(
                steps=300_000, batch=256, learning_rate=3e-4, warmup=4000, validations=60, ema=0.9995
            ),
        ),
    )


def pixels(pictures: Pictures) -> TwoStageConfig:
    """A prior on the pixels as bytes, with nothing to learn before it: exact likelihood, slow samples."""
    return TwoStageConfig(
        recipe="pixels",
        tokenizer=pixel_tokenizer(pictures.channels, pictures.size, 256),
        prior=PriorConfig(width=128, depth=4),
        training=StagesConfig(
            prior=TrainingConfig(steps=2000, batch=32, optimiser="muon", learning_rate=5e-3, ema=0.99)
        ),
    )


def pixel_tokenizer(channels: int, size: int, levels: int) -> TokenizerConfig:
    """A tokenizer whose codes are the pixels' grey levels: 256 for the bytes as they are."""
    return TokenizerConfig(
        architecture="pixels",
        size=size,
        factor=1,
        patch=1,
        channels=channels,
        latent_width=channels,
        quantizer="uniform",
        quantizer_options={"levels": levels},
    )


TWO_STAGE_RECIPES: dict[str, Callable[[Pictures], TwoStageConfig]] = {
    "tiny": tiny,
    "small": small,
    "vqgan": vqgan,
    "base": base,
    "pixels": pixels,
}
"""The recipes of two stages by name."""

TWO_STAGES = (0.35, 0.65)
"""Shares of the minutes of a run that the tokenizer and the prior get."""
SHARES = {"pixels": (0.0, 1.0), "auto": (0.35, 0.5, 0.15)}
"""Shares of recipes that differ: of the tokenizer, the prior and, where there is one, the refined decoder."""


def nearest_factor(size: int, grid: int, largest: int) -> int:
    """The factor that divides the size and comes nearest to `grid` codes a side, in ratio."""
    fitting = [f for f in FACTORS if size % f == 0 and f <= largest]
    return min(fitting, key=lambda f: abs(math.log(size / f / grid)))
