"""The speed of an engine, beside the rate at which the machine reads memory."""

from __future__ import annotations

import time

import torch

from caselli.prior import PriorConfig
from caselli.sampling.base import Engine
from caselli.sampling.drawing import SeededDrawing


class Timed(Engine):
    """An engine, and how fast it was.

    Arguments:
        engine: computes the steps.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self.prior, self.precision = engine, engine.prior, engine.precision
        self.seconds, self.codes, self.bytes = 0.0, 0, 0

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def guiding(self) -> PriorConfig:
        return self.engine.guiding

    @property
    def needs_condition(self) -> bool:
        return self.engine.needs_condition

    def draw(self, drawing: SeededDrawing) -> None:
        begin = _now(drawing)
        self.engine.draw(drawing)
        steps = min(drawing.rounds, drawing.codes.shape[1] - drawing.first)
        self.seconds += _now(drawing) - begin
        self.codes += (drawing.codes.shape[1] - drawing.first) * len(drawing.codes)
        self.bytes += steps * self.engine.bytes_per_step()

    def bytes_per_step(self) -> int:
        return self.engine.bytes_per_step()

    def pace(self) -> str:
        """Tokens per second and the engine; on the CPU the share of the memory's read rate too."""
        seconds = max(self.seconds, 1e-9)
        words = f"{self.codes / seconds:,.0f} tokens per second, {self.name}"
        if self.prior.offset.device.type == "cpu":
            words += f", {self.bytes / seconds / read_rate():.0%} of the memory's read rate"
        return words


def _now(drawing: SeededDrawing) -> float:
    """Seconds on a clock, once a GPU has done all that it was asked for."""
    if drawing.codes.is_cuda:
        torch.cuda.synchronize(drawing.codes.device)
    return time.perf_counter()


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
