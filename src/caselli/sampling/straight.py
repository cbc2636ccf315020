"""The engine for priors of any order: the slots as they stand by the fastest engine, others by the prior."""

from __future__ import annotations

from caselli.prior import Prior
from caselli.sampling.base import Engine
from caselli.sampling.drawing import SeededDrawing
from caselli.sampling.eager import EagerEngine


class StraightEngine(Engine):
    """Draws by an engine of `Prior.straight` where all known codes are in front.

    Where some lie behind unknown ones the prior takes them first, in an order of its own.

    Arguments:
        prior: the distribution.
        engine: draws from `prior.straight()`.
    """

    def __init__(self, prior: Prior, engine: Engine) -> None:
        self.prior, self.precision = prior, engine.precision
        self.straight, self.any_order = engine, EagerEngine(prior)
        self.last: Engine = engine

    @property
    def name(self) -> str:
        return self.last.name

    def draw(self, drawing: SeededDrawing) -> None:
        known = drawing.codes >= 0
        in_front = bool((known[:, 1:] <= known[:, :-1]).all())
        self.last = self.straight if in_front else self.any_order
        self.last.draw(drawing)

    def bytes_per_step(self) -> int:
        return self.last.bytes_per_step()
