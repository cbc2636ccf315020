"""Pictures ⟷ bytes: the prior's probabilities and an entropy coder."""

from caselli.codec.codec import Codec, Coded
from caselli.codec.coder import Decoder, Decoders, Encoder, Encoders
from caselli.codec.container import ENDINGS, KINDS, Archive, Group, pack_archive, pack_one, unpack
from caselli.codec.files import load_residual, save_residual
from caselli.codec.groups import GroupCoder
from caselli.codec.learning import learn_residual
from caselli.codec.pixels import Pixels
from caselli.codec.reproducible import Reproducible, reproducible
from caselli.codec.residual import ResidualConfig, ResidualModel
from caselli.codec.sequences import Sequences

__all__ = [
    "ENDINGS",
    "KINDS",
    "Archive",
    "Codec",
    "Coded",
    "Decoder",
    "Decoders",
    "Encoder",
    "Encoders",
    "Group",
    "GroupCoder",
    "Pixels",
    "Reproducible",
    "ResidualConfig",
    "ResidualModel",
    "Sequences",
    "learn_residual",
    "load_residual",
    "pack_archive",
    "pack_one",
    "reproducible",
    "save_residual",
    "unpack",
]
