"""Convolutional parts. What makes a picture larger or smaller is in `UPSAMPLERS` and `DOWNSAMPLERS`, what
tells pictures apart in `DISCRIMINATORS`."""

from caselli.layer.borrowed import Borrowed
from caselli.layer.discriminator import Discriminator
from caselli.layer.discriminator_patch import PatchDiscriminator
from caselli.layer.discriminator_stylegan import StyleDiscriminator
from caselli.layer.lecam import LeCam
from caselli.layer.norm import normalised
from caselli.layer.resample import DOWNSAMPLERS, UPSAMPLERS, Downsampler, Upsampler

DISCRIMINATORS: dict[str, type[Discriminator]] = {
    "patch": PatchDiscriminator,
    "stylegan": StyleDiscriminator,
}
"""The discriminators by name."""

__all__ = [
    "DISCRIMINATORS",
    "DOWNSAMPLERS",
    "UPSAMPLERS",
    "Borrowed",
    "Discriminator",
    "Downsampler",
    "LeCam",
    "PatchDiscriminator",
    "StyleDiscriminator",
    "Upsampler",
    "normalised",
]
