"""What computes the steps of sampling: the contract, and the engine that defines it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod

import torch

from caselli.prior.base import Prior
from caselli.prior.drawing import Drawing


class Engine(ABC):
    """Draws sequences from one prior; every engine draws from the same distribution by the same noise."""

    prior: Prior
    precision: str

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is, in words."""

    @abstractmethod
    def draw(self, drawing: Drawing) -> None:
        """Fills the codes."""

    @abstractmethod
    def bytes_per_step(self) -> int:
        """Bytes that a step of the last batch had to read: weights, and half of the final state."""


class Eager(Engine):
    """PyTorch's operations one by one, on any device, for any mixer: the definition.

    Arguments:
        prior: the distribution, in evaluation mode.
    """

    precision = "as they are"

    def __init__(self, prior: Prior) -> None:
        self.prior, self.state_bytes = prior, 0

    @property
    def name(self) -> str:
        return "step by step in PyTorch"

    @torch.no_grad()
    def draw(self, drawing: Drawing) -> None:
        self.state_bytes = self.prior.draw(drawing)

    def bytes_per_step(self) -> int:
        return self.prior.weight_bytes() + self.state_bytes // 2


class Timed(Engine):
    """An engine that tells how fast it was.

    Arguments:
        engine: what it wraps.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self.prior, self.precision = engine, engine.prior, engine.precision
        self.seconds, self.codes, self.bytes = 0.0, 0, 0

    @property
    def name(self) -> str:
        return self.engine.name

    def draw(self, drawing: Drawing) -> None:
        begin = time.perf_counter()
        self.engine.draw(drawing)
        steps = min(len(drawing.strengths), drawing.codes.shape[1] - drawing.first)
        self.seconds += time.perf_counter() - begin
        self.codes += (drawing.codes.shape[1] - drawing.first) * len(drawing.codes)
        self.bytes += steps * self.engine.bytes_per_step()

    def bytes_per_step(self) -> int:
        return self.engine.bytes_per_step()


def read_rate(megabytes: int = 256) -> float:
    """Bytes per second that the CPU's threads read from memory, by a sum over more than the caches hold.

    Example:
        >>> read_rate(1) > 0
        True
    """
    x = torch.ones(megabytes << 18)
    best = float("inf")
    for _ in range(4):
        begin = time.perf_counter()
        x.sum()
        best = min(best, time.perf_counter() - begin)
    return x.nbytes / best
