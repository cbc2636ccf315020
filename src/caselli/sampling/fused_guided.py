"""A prior and the weaker one that it is led away from, in compiled code."""

from __future__ import annotations

import dataclasses

import torch

from caselli.prior import Prior
from caselli.sampling.drawing import SeededDrawing
from caselli.sampling.fused import FusedEngine, FusedSteps
from caselli.sampling.program import DRAW


class FusedGuided:
    """The loop of `GuidedEngine` in compiled code: one list of operations goes through both priors, whose
    logits lie one behind the other for the operation that draws.

    Arguments:
        engine: draws from the prior alone.
        guide: a weaker prior over the same slots, without a `FusedEngine.refusal`.
    """

    def __init__(self, engine: FusedEngine, guide: Prior) -> None:
        self.engine, self.guide = engine, FusedEngine(guide, engine.precision)
        self.steps: tuple[FusedSteps, FusedSteps] | None = None

    def draw(self, drawing: SeededDrawing) -> None:
        """Fills the codes."""
        even = [1.0] * len(drawing.strengths)
        told = dataclasses.replace(drawing, strengths=even)
        untold = dataclasses.replace(told, conditions=drawing.conditions.null())
        if self.steps is None or not self.steps[0].suits(told):
            self.steps = None  # the old buffers go before the new ones come
            self.steps = self._built(told, untold)
        steps, guide = self.steps
        for each, own in ((steps, told), (guide, untold)):
            each.begin(own)
            if each.needs_start(own):
                each.start(own)
        steps.strengths.copy_(torch.tensor(drawing.strengths))
        steps.fill(drawing)

    def _built(self, told: SeededDrawing, untold: SeededDrawing) -> tuple[FusedSteps, FusedSteps]:
        """The programs of both, over the same codes; that of the prior has the guide's operations too."""
        rows = len(told.codes)
        logits = torch.zeros(2 * rows, sum(self.engine.prior.alphabet.sizes))
        steps = FusedSteps(self.engine, told, logits=logits[:rows])
        guide = FusedSteps(self.guide, untold, codes=steps.codes, logits=logits[rows:])
        steps.program.join(guide.program)
        steps.choose(DRAW, (logits, steps.uniform), guides=True)
        return steps, guide

    def bytes_per_step(self) -> int:
        """Bytes that a step of the last batch had to read."""
        return 0 if self.steps is None else self.steps[0].program.bytes_per_step()
