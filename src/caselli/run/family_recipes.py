"""Recipes of one-stage families: functions of the pictures they meet, to be read from top to bottom."""

from __future__ import annotations

from collections.abc import Callable

from caselli.data import Pictures
from caselli.engine import TrainingConfig
from caselli.family import GANConfig, MixtureConfig, VAEConfig
from caselli.run.config import DataConfig
from caselli.run.family_config import FamilyRunConfig


def vae(pictures: Pictures) -> FamilyRunConfig:
    """A variational autoencoder: 64 Gaussian latents, residual networks, discretised logistic likelihood."""
    return FamilyRunConfig(
        recipe="vae",
        family="vae",
        data=DataConfig(shift=1),
        model=VAEConfig(network="residual", width=32, count=64),
        training=TrainingConfig(steps=3000, batch=64, learning_rate=2e-3, warmup=100, ema=0.99),
    )


def gan(pictures: Pictures) -> FamilyRunConfig:
    """A generative adversarial network: convolutional players, labels where there are any."""
    return FamilyRunConfig(
        recipe="gan",
        family="gan",
        data=DataConfig(shift=1),
        model=GANConfig(classes=len(pictures.classes), width=32, regularisers={"r1": 1.0}),
        training=TrainingConfig(
            steps=5000,
            batch=64,
            learning_rate=1e-3,
            final_learning_rate=0.05,
            betas=(0.0, 0.99),
            weight_decay=0.0,
            clip=0.0,
            ema=0.995,
        ),
    )


def mixture(pictures: Pictures) -> FamilyRunConfig:
    """A mixture of 64 Gaussians over the pixels, by maximum likelihood: what every family must beat."""
    return FamilyRunConfig(
        recipe="mixture",
        family="mixture",
        model=MixtureConfig(components=64),
        training=TrainingConfig(steps=1000, batch=256, learning_rate=2e-2, weight_decay=0.0, ema=0.99),
    )


FAMILY_RECIPES: dict[str, Callable[[Pictures], FamilyRunConfig]] = {
    "vae": vae,
    "gan": gan,
    "mixture": mixture,
}
"""The one-stage recipes by name."""

FAMILY_OF_RECIPE = {"vae": "vae", "gan": "gan", "mixture": "mixture"}
"""Which family each of them trains."""
