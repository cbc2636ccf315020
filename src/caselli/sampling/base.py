"""The contract of what computes the steps of sampling."""

from __future__ import annotations

from abc import ABC, abstractmethod

from caselli.prior import Prior, PriorConfig
from caselli.sampling.drawing import SeededDrawing


class Unavailable(Exception):
    """An engine cannot serve a prior on this machine; the message is the reason, in words for the user."""


class Engine(ABC):
    """Draws sequences from one prior; every engine draws from the same distribution by the same noise.

    An engine of the table `ENGINES` extends this class, is final, and is built from a prior and a precision
    of its linear layers' weights (`caselli.sampling.WEIGHT_PRECISIONS`).
    """

    prior: Prior
    """The distribution, with the weights that the engine computes with."""
    precision: str | None
    """Precision of the linear layers' weights; None for the one in which they were given."""

    @staticmethod
    def refusal(prior: Prior) -> str | None:
        """Why an engine of this class cannot serve a prior on this machine; None where it can."""
        return None

    @property
    @abstractmethod
    def name(self) -> str:
        """The engine in words, for the user."""

    @property
    def guiding(self) -> PriorConfig:
        """The configuration that says how strong guidance is and how it grows, unless the user does."""
        return self.prior.config

    @property
    def needs_condition(self) -> bool:
        """True where guidance strengthens a condition, so that there is none without one."""
        return True

    @abstractmethod
    def draw(self, drawing: SeededDrawing) -> None:
        """Fills the codes."""

    @abstractmethod
    def bytes_per_step(self) -> int:
        """Bytes that a step of the last batch had to read: weights, and half of the final state."""


def expect_served(refusal: str | None) -> None:
    """Errors: `Unavailable` for a reason not to serve a prior."""
    if refusal is not None:
        raise Unavailable(refusal)
