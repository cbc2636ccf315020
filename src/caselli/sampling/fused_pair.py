"""Two priors in compiled code: one proposes codes, the other keeps or replaces them."""

from __future__ import annotations

import dataclasses

import torch

from caselli.prior import Prior
from caselli.sampling.drawing import SeededDrawing
from caselli.sampling.fused import FusedEngine, FusedSteps
from caselli.sampling.lower import takes_several
from caselli.sampling.program import DRAW, SETTLE
from caselli.shapes import Float, Tensor

_PIECE = 16
"""Slots between two reports of progress."""


@dataclasses.dataclass(frozen=True)
class Counts:
    """Proposals that the prior has read, those it has kept, and bytes of weights that both have read."""

    read: int
    kept: int
    bytes: int


class FusedPair:
    """The loop of `SpeculativeEngine` in compiled code, for one sequence after another.

    The prior takes the input of all proposals in one pass, whose rows share the sequence's keys; keys of
    proposals that are refused are overwritten. The draft's weights are rounded to int8: its steps read them
    again and again beside the prior's, which leave no room in a cache, and any draft gives the prior's
    distribution.

    Arguments:
        prior, draft: see `SpeculativeEngine`; without a `refusal`.
        precision: of the prior's linear layers' weights.
    """

    def __init__(self, prior: Prior, draft: Prior, precision: str) -> None:
        self.engine, self.draft = FusedEngine(prior, precision), FusedEngine(draft, "int8")
        self.steps: tuple[FusedSteps, FusedSteps] | None = None
        length = prior.alphabet.length
        self.known, self.noise = torch.zeros(length, dtype=torch.int64), torch.zeros(2, length)
        self.counts = torch.zeros(4, dtype=torch.int64)  # settled now; so far passes, proposals read, kept

    @staticmethod
    def refusal(prior: Prior, draft: Prior) -> str | None:
        """Why the pair does not draw in compiled code on this machine; None where it does."""
        for each in (prior, draft):
            why = FusedEngine.refusal(each)
            if why is not None:
                return why
            others = sorted({type(b.mixer).__name__ for b in each.blocks if not takes_several(b.mixer)})
            if others:
                return f"no fused step of several tokens for {', '.join(others)}"
        return None if prior.conditioner.length == 1 else "captions stand in front of the codes"

    def draw(self, drawing: SeededDrawing, noise: Float[Tensor, "B 2 T"], proposals: int) -> Counts:
        """Fills the codes.

        Arguments:
            noise: by which each slot's proposal is kept, and drawn again where it is not.
            proposals: codes that the draft draws before the prior reads them.
        """
        self.counts.zero_()
        for row in range(len(drawing.codes)):
            own = drawing.part(torch.tensor([row]))
            if self.steps is None or not self._suit(own, proposals):
                self.steps = self._built(own, proposals)
            self._draw(own, noise[row], drawing.codes[row])
        _, passes, proposed, kept = self.counts.tolist()
        steps, draft = (each.program.weight_bytes for each in self.steps)
        return Counts(proposed, kept, passes * (steps + proposals * draft))

    def _draw(self, own: SeededDrawing, noise: Float[Tensor, "2 T"], codes: Tensor) -> None:
        steps, draft = self.steps
        for each in self.steps:
            each.begin(own)
            if own.first:
                conditions, rows, known = own.start()  # the last known code goes through the layers anew
                each.load_state(each.prior.start(conditions, rows, known[:, :-1])[1])
        self.known.copy_(own.codes[0])
        self.noise.copy_(noise)
        slot, length = own.first, len(codes)
        while slot < length:
            last = min(slot + _PIECE, length)
            reached = steps.program.run_behind(draft.program, self.counts, slot, last, length)
            codes.copy_(steps.codes[0])
            own.progress(reached - slot)
            slot = reached

    def _suit(self, own: SeededDrawing, proposals: int) -> bool:
        return self.steps[0].suits(own) and self.steps[0].program.tokens == proposals

    def _built(self, own: SeededDrawing, proposals: int) -> tuple[FusedSteps, FusedSteps]:
        """The programs of prior and draft, over the same codes."""
        draft = FusedSteps(self.draft, own)
        steps = FusedSteps(self.engine, own, proposals, draft.codes)
        distributions = torch.zeros(len(self.known), draft.logits.shape[1])
        draft.choose(DRAW, (draft.logits, draft.uniform), distributions, guides=own.guides)
        by, others = (steps.logits, distributions), (self.known, *self.noise, self.counts)
        steps.choose(SETTLE, by, *others, guides=own.guides)
        return steps, draft
