"""What computes the steps of sampling: the contract, and the engine that defines it."""

from __future__ import annotations

import dataclasses
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch

from caselli.prior.autoregressive import Autoregressive
from caselli.prior.drawing import Sampling, draw, guided, probabilities
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A batch of sequences that are to be drawn."""

    codes: Int[Tensor, "B T"]
    """Filled in place: −1 where a code is to be drawn, known codes in front."""
    first: int
    """Slots that are known in every row, less than T."""
    labels: Int[Tensor, "R"]
    """The condition of each row; 2 B rows under guidance, the null labels last."""
    uniform: Float[Tensor, "B T"]
    """The noise."""
    strengths: list[float]
    """Guidance at each slot."""
    options: Sampling
    progress: Callable[[int], None]
    """Told the number of codes drawn since it was last told."""

    @property
    def rows(self) -> int:
        """B, or 2 B under guidance."""
        return len(self.labels)

    def doubled(self, codes: Int[Tensor, "B *T"]) -> Int[Tensor, "R *T"]:
        """Codes for every row."""
        return codes if self.rows == len(codes) else torch.cat((codes, codes))

    def known(self) -> tuple[Tensor, int, Tensor]:
        """What `Autoregressive.start` takes: labels, rows, and the codes known in every row."""
        return self.labels, self.rows, self.doubled(self.codes[:, : self.first])


class Engine(ABC):
    """Draws sequences from one prior; every engine draws from the same distribution by the same noise."""

    prior: Autoregressive
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

    def __init__(self, prior: Autoregressive) -> None:
        self.prior, self.state_bytes = prior, 0

    @property
    def name(self) -> str:
        return "step by step in PyTorch"

    @torch.no_grad()
    def draw(self, drawing: Drawing) -> None:
        prior, codes = self.prior, drawing.codes
        logits, state = prior.start(*drawing.known())
        for slot in range(drawing.first, codes.shape[1]):
            if drawing.rows > len(codes):
                logits = guided(logits, drawing.strengths[slot])
            p = probabilities(logits, drawing.options)
            drawn = draw(p, drawing.uniform[:, slot]) - prior.offset[slot]
            codes[:, slot] = torch.where(codes[:, slot] < 0, drawn, codes[:, slot])
            drawing.progress(len(codes))
            if slot + 1 < codes.shape[1]:
                logits, state = prior.step(drawing.doubled(codes[:, slot]), state)
        self.state_bytes = sum(tensor.nbytes for tensor in state.tensors())

    def bytes_per_step(self) -> int:
        blocks, head = self.prior.blocks, self.prior.head
        weights = sum(p.nbytes for part in (blocks, head) for p in part.parameters())
        return weights + self.state_bytes // 2


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
        steps = drawing.codes.shape[1] - drawing.first
        self.seconds += time.perf_counter() - begin
        self.codes += steps * len(drawing.codes)
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
