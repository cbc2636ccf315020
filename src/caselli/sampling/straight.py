"""The engine for a random-order prior: the slots as they stand by the fastest engine, others by its own."""

from __future__ import annotations

from caselli.prior.drawing import Drawing
from caselli.prior.random_order import RandomOrder
from caselli.sampling.base import Eager, Engine


class InSequence(Engine):
    """Draws by an engine of `RandomOrder.in_sequence` where all known codes are in front.

    Where some lie behind unknown ones the prior takes them first, in an order of its own.

    Arguments:
        prior: the distribution.
        engine: of the same prior in sequence.
    """

    def __init__(self, prior: RandomOrder, engine: Engine) -> None:
        self.prior, self.precision = prior, engine.precision
        self.straight, self.crooked = engine, Eager(prior)
        self.last: Engine = engine

    @property
    def name(self) -> str:
        return self.last.name

    def draw(self, drawing: Drawing) -> None:
        known = drawing.codes >= 0
        in_front = bool((known[:, 1:] <= known[:, :-1]).all())
        self.last = self.straight if in_front else self.crooked
        self.last.draw(drawing)

    def bytes_per_step(self) -> int:
        return self.last.bytes_per_step()
