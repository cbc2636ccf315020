"""A distribution over sequences of codes, how it is trained, and how it is drawn from."""

from caselli.prior.autoregressive import Autoregressive, PriorState
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.sampling import Sampling, sample
from caselli.prior.task import PriorTask

PRIORS = {"autoregressive": Autoregressive}

__all__ = [
    "PRIORS",
    "Alphabet",
    "Autoregressive",
    "PriorConfig",
    "PriorState",
    "PriorTask",
    "Sampling",
    "sample",
]
