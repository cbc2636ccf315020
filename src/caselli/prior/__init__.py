"""A distribution over sequences of codes, how it is trained, and how it is drawn from."""

from caselli.prior.autoregressive import Autoregressive, PriorState
from caselli.prior.base import Prior
from caselli.prior.build import PRIORS, build
from caselli.prior.captured import Captured
from caselli.prior.conditions import Conditioner, Conditions
from caselli.prior.config import NONE, PICTURE_CONDITIONS, Alphabet, PriorConfig
from caselli.prior.drawing import AS_LEARNED, SCHEDULES, Sampling
from caselli.prior.engine import Eager, Engine, Timed, read_rate
from caselli.prior.fused import Fused
from caselli.prior.in_sequence import InSequence
from caselli.prior.masked import Masked
from caselli.prior.next_scale import NextScale
from caselli.prior.packed import Packed
from caselli.prior.parallel import ParallelHeads
from caselli.prior.pixel_cnn import PixelCNN
from caselli.prior.random_order import RandomOrder
from caselli.prior.rounding import PRECISIONS, rounded
from caselli.prior.sampling import best_engine, sample
from caselli.prior.schedule import MASK_SCHEDULES
from caselli.prior.task import PriorTask
from caselli.prior.vocabulary import (
    VOCABULARIES,
    Bytes,
    Pretrained,
    Vocabulary,
    Words,
    described_vocabulary,
    read_vocabulary,
    vocabulary_of,
)

__all__ = [
    "AS_LEARNED",
    "MASK_SCHEDULES",
    "NONE",
    "PICTURE_CONDITIONS",
    "PRECISIONS",
    "PRIORS",
    "SCHEDULES",
    "VOCABULARIES",
    "Alphabet",
    "Autoregressive",
    "Bytes",
    "Captured",
    "Conditioner",
    "Conditions",
    "Eager",
    "Engine",
    "Fused",
    "InSequence",
    "Masked",
    "NextScale",
    "Packed",
    "ParallelHeads",
    "PixelCNN",
    "Pretrained",
    "Prior",
    "PriorConfig",
    "PriorState",
    "PriorTask",
    "RandomOrder",
    "Sampling",
    "Timed",
    "Vocabulary",
    "Words",
    "best_engine",
    "build",
    "described_vocabulary",
    "read_rate",
    "read_vocabulary",
    "rounded",
    "sample",
    "vocabulary_of",
]
