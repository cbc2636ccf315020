"""A discriminator that judges overlapping patches."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from caselli.errors import UnknownName, UserError
from caselli.layer.block import group_norm
from caselli.layer.discriminator import SLOPE, Discriminator
from caselli.shapes import Float, Tensor

PATCH_NORMS = ("spectral", "group", "batch", "none")

BEHIND = {"group": group_norm, "batch": nn.BatchNorm2d}
"""Normalisations that follow a convolution."""


class PatchDiscriminator(Discriminator):
    r"""PatchGAN: a score for every patch of :math:`3 \cdot 2^{n+2} - 2^n - 10` or so pixels a side.

    n halvings by 4 × 4 convolutions of stride 2, two more convolutions at the last size, leaky rectifiers
    between. It sees texture and edges, not the whole: the reconstruction loss already holds that in place.

    Arguments:
        width: channels of the first layer; they double with each halving, up to eightfold.
        channels: C of the pictures.
        layers: n; patches of 16, 34, 70 pixels for 1, 2, 3.
        norm: `spectral` (every weight divided by its largest singular value), `group` (group normalisation
            after all layers but the first and the last), `batch` (batch normalisation there, as published,
            with running statistics in evaluation: in training a patch's score depends on its batch), or
            `none`.

    Sources: Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks; Miyato et
    al. 2018, Spectral Normalization for Generative Adversarial Networks.

    Example:
        >>> import torch
        >>> PatchDiscriminator(16, layers=2)(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 1, 6, 6])
    """

    def __init__(self, width: int, channels: int = 3, *, layers: int = 3, norm: str = "spectral") -> None:
        if norm not in PATCH_NORMS:
            raise UnknownName("norm", norm, PATCH_NORMS)
        if layers < 1:
            raise UserError(f"layers {layers} were given", "at least 1 was expected")
        super().__init__(width, channels, smallest=3 << layers)
        steps: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(SLOPE)]
        inner = width
        for layer in range(1, layers + 1):
            wide = width * min(8, 1 << layer)
            stride = 2 if layer < layers else 1
            steps += [nn.Conv2d(inner, wide, 4, stride, 1, bias=norm != "batch")]
            steps += [BEHIND[norm](wide)] if norm in BEHIND else []
            steps += [nn.LeakyReLU(SLOPE)]
            inner = wide
        self.layers = nn.Sequential(*steps, nn.Conv2d(inner, 1, 4, 1, 1))
        if norm == "spectral":
            for layer in self.layers:
                if isinstance(layer, nn.Conv2d):
                    spectral_norm(layer)

    def score(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 h w"]:
        return self.layers(pictures)
