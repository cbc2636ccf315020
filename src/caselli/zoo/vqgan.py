"""VQGAN's encoder and decoder, as large as the published one for ImageNet: factor 16, 256 latent channels."""

from __future__ import annotations

from torch import nn

from caselli.tokenizer import ARCHITECTURES, Architecture, TokenizerConfig
from caselli.zoo.parts import Convention

CONFIG = TokenizerConfig(
    factor=16,
    width=128,
    multipliers=(1, 1, 2, 2, 4),
    patch=1,
    blocks=2,
    attention=(16,),
    latent_width=256,
)


def vqgan_encoder(convention: Convention = Convention.TORCHVISION) -> nn.Module:
    """Pictures to latents; the original pads strided convolutions at the far edges, ours at all four alike.

    Source: Esser, Rombach and Ommer, 2021, "Taming transformers for high-resolution image synthesis".

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     encoder = vqgan_encoder(Convention.ORIGINAL)
        >>> sum(p.numel() for p in encoder.parameters())
        29363968
    """
    return _architecture(convention).encoder(CONFIG)


def vqgan_decoder(convention: Convention = Convention.TORCHVISION) -> nn.Module:
    """Latents to pictures: 256 × 16 × 16 become 3 × 256 × 256."""
    return _architecture(convention).decoder(CONFIG)


def _architecture(convention: Convention) -> Architecture:
    return ARCHITECTURES["vqgan" if convention is Convention.ORIGINAL else "convolutional"]()
