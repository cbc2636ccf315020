"""One-stage families of distributions over pictures; their names are in `FAMILIES`."""

from caselli.family.adversarial import adversarial
from caselli.family.base import REGULARISERS, Family, FamilyConfig, FamilyTask
from caselli.family.gan import GAN, GANConfig
from caselli.family.latents import LATENTS
from caselli.family.likelihood import LIKELIHOODS
from caselli.family.mixture import Mixture, MixtureConfig, MixtureOfGaussians
from caselli.family.model import FamilyModel, FamilyScore, load_family, save_family
from caselli.family.network import DECODERS, ENCODERS, perceptron
from caselli.family.objective import OBJECTIVES
from caselli.family.vae import VAE, VAEConfig

FAMILIES: dict[str, type[Family]] = {
    "mixture": Mixture,
    "vae": VAE,
    "gan": GAN,
}
"""The families by name."""

__all__ = [
    "DECODERS",
    "ENCODERS",
    "FAMILIES",
    "GAN",
    "LATENTS",
    "LIKELIHOODS",
    "OBJECTIVES",
    "REGULARISERS",
    "VAE",
    "Family",
    "FamilyConfig",
    "FamilyModel",
    "FamilyScore",
    "FamilyTask",
    "GANConfig",
    "Mixture",
    "MixtureConfig",
    "MixtureOfGaussians",
    "VAEConfig",
    "adversarial",
    "load_family",
    "perceptron",
    "save_family",
]
