"""Drawing codes from any prior: the options, the noise, and the engines that run the steps."""

from caselli.prior.drawing import AS_LEARNED, SCHEDULES, Sampling
from caselli.sampling.base import Eager, Engine, Timed, read_rate
from caselli.sampling.draw import best_engine, sample
from caselli.sampling.fused import Fused
from caselli.sampling.graph import Captured
from caselli.sampling.packed import Packed
from caselli.sampling.rounding import PRECISIONS, rounded
from caselli.sampling.straight import InSequence

__all__ = [
    "AS_LEARNED",
    "PRECISIONS",
    "SCHEDULES",
    "Captured",
    "Eager",
    "Engine",
    "Fused",
    "InSequence",
    "Packed",
    "Sampling",
    "Timed",
    "best_engine",
    "read_rate",
    "rounded",
    "sample",
]
