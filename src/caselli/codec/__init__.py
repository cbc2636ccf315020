"""Pictures ⟷ bytes: the prior's probabilities and an entropy coder."""

from caselli.codec.codec import Codec, Coded
from caselli.codec.coder import Decoders, Encoders
from caselli.codec.container import ENDINGS, KINDS, Archive, Group, parse, serialise_archive, serialise_one
from caselli.codec.files import load_residual, save_residual
from caselli.codec.groups import GroupCoder
from caselli.codec.learning import learn_residual
from caselli.codec.lossless import image_of, lossless_webp, optimised_png, with_profile
from caselli.codec.pixels import Pixels
from caselli.codec.reading import EveryPixel, every_pixel
from caselli.codec.reproducible import Reproducible, reproducible
from caselli.codec.residual import ResidualConfig, ResidualModel
from caselli.codec.sequences import Sequences

__all__ = [
    "ENDINGS",
    "KINDS",
    "Archive",
    "Codec",
    "Coded",
    "Decoders",
    "Encoders",
    "EveryPixel",
    "Group",
    "GroupCoder",
    "Pixels",
    "Reproducible",
    "ResidualConfig",
    "ResidualModel",
    "Sequences",
    "every_pixel",
    "image_of",
    "learn_residual",
    "load_residual",
    "lossless_webp",
    "optimised_png",
    "parse",
    "reproducible",
    "save_residual",
    "serialise_archive",
    "serialise_one",
    "with_profile",
]
