"""Distributions over sequences of codes, and how they are trained."""

from caselli.prior.autoregressive import Autoregressive, PriorState
from caselli.prior.base import Prior
from caselli.prior.bracket import Bracket
from caselli.prior.build import PRIORS, build
from caselli.prior.code_vectors import code_vectors, fold, share
from caselli.prior.conditions import Conditioner, Conditions
from caselli.prior.config import NO_CONDITION, PICTURE_CONDITIONS, Alphabet, PriorConfig
from caselli.prior.drawing import Drawing
from caselli.prior.head import Head, Slots, Walk, follow
from caselli.prior.heads import HEADS
from caselli.prior.layer import OWN_LAYER, LayerConfig
from caselli.prior.low_rank import adapt, differences
from caselli.prior.masked import Masked
from caselli.prior.masked_places import MaskedPlaces
from caselli.prior.next_scale import NextScale
from caselli.prior.parallel import ParallelHeads
from caselli.prior.parallel_order import ParallelOrder
from caselli.prior.pieces import Pieces
from caselli.prior.pixel_cnn import PixelCNN
from caselli.prior.random_order import RandomOrder
from caselli.prior.task import PriorTask
from caselli.prior.vocabularies import (
    VOCABULARIES,
    described_vocabulary,
    read_vocabulary,
    vocabulary_of,
)
from caselli.prior.vocabulary import Bytes, Pretrained, Vocabulary, Words

__all__ = [
    "HEADS",
    "NO_CONDITION",
    "OWN_LAYER",
    "PICTURE_CONDITIONS",
    "PRIORS",
    "VOCABULARIES",
    "Alphabet",
    "Autoregressive",
    "Bracket",
    "Bytes",
    "Conditioner",
    "Conditions",
    "Drawing",
    "Head",
    "LayerConfig",
    "Masked",
    "MaskedPlaces",
    "NextScale",
    "ParallelHeads",
    "ParallelOrder",
    "Pieces",
    "PixelCNN",
    "Pretrained",
    "Prior",
    "PriorConfig",
    "PriorState",
    "PriorTask",
    "RandomOrder",
    "Slots",
    "Vocabulary",
    "Walk",
    "Words",
    "adapt",
    "build",
    "code_vectors",
    "described_vocabulary",
    "differences",
    "fold",
    "follow",
    "read_vocabulary",
    "share",
    "vocabulary_of",
]
