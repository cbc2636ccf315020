"""Temperature schedules of a training."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from caselli.errors import UserError
from caselli.estimator.relaxation import positive_temperature


class TemperatureSchedule(ABC):
    """`schedule(step)` is the temperature at a step: `start` at 0, `end` from `steps` on.

    Arguments:
        start, end: positive temperatures.
        steps: number of steps between them.
    """

    def __init__(self, start: float = 1.0, end: float = 0.5, steps: int = 10_000) -> None:
        if steps < 1:
            raise UserError(f"steps {steps} were given", "at least 1 was expected")
        self.start, self.end = positive_temperature(start), positive_temperature(end)
        self.steps = steps

    def __call__(self, step: int) -> float:
        return self.between(min(max(step / self.steps, 0.0), 1.0))

    @abstractmethod
    def between(self, progress: float) -> float:
        """The temperature at a progress from 0 to 1."""


class Constant(TemperatureSchedule):
    """`start` for ever.

    Example:
        >>> Constant(0.5)(1000)
        0.5
    """

    def between(self, progress: float) -> float:
        return self.start


class Linear(TemperatureSchedule):
    """Equal differences.

    Example:
        >>> Linear(1.0, 0.5, steps=100)(50)
        0.75
    """

    def between(self, progress: float) -> float:
        return self.start + (self.end - self.start) * progress


class Exponential(TemperatureSchedule):
    """Equal ratios, the annealing of the Gumbel-Softmax paper.

    Example:
        >>> round(Exponential(1.0, 0.25, steps=100)(50), 6)
        0.5
    """

    def between(self, progress: float) -> float:
        return self.start * (self.end / self.start) ** progress


class Cosine(TemperatureSchedule):
    """Half a cosine wave: slow at both ends, as in the discrete VAE of DALL-E.

    Example:
        >>> round(Cosine(1.0, 0.5, steps=100)(50), 6)
        0.75
    """

    def between(self, progress: float) -> float:
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * progress)) / 2


SCHEDULES: dict[str, type[TemperatureSchedule]] = {
    "constant": Constant,
    "linear": Linear,
    "exponential": Exponential,
    "cosine": Cosine,
}
"""The temperature schedules by name."""
