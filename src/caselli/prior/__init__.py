"""A distribution over sequences of codes, how it is trained, and how it is drawn from."""

from caselli.prior.autoregressive import Autoregressive, PriorState
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.drawing import AS_LEARNED, SCHEDULES, Sampling
from caselli.prior.engine import Eager, Engine, Timed, read_rate
from caselli.prior.fused import Fused
from caselli.prior.packed import Packed
from caselli.prior.rounding import PRECISIONS, rounded
from caselli.prior.sampling import best_engine, sample
from caselli.prior.task import PriorTask

PRIORS = {"autoregressive": Autoregressive}

__all__ = [
    "AS_LEARNED",
    "PRECISIONS",
    "PRIORS",
    "SCHEDULES",
    "Alphabet",
    "Autoregressive",
    "Eager",
    "Engine",
    "Fused",
    "Packed",
    "PriorConfig",
    "PriorState",
    "PriorTask",
    "Sampling",
    "Timed",
    "best_engine",
    "read_rate",
    "rounded",
    "sample",
]
