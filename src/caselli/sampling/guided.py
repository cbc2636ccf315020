"""The engine of a prior that is led away from a weaker one."""

from __future__ import annotations

import torch

from caselli.errors import UserError
from caselli.prior import Autoregressive, Prior, PriorConfig, Walk
from caselli.sampling.base import Engine
from caselli.sampling.drawing import SeededDrawing
from caselli.sampling.fused import FusedEngine
from caselli.sampling.fused_guided import FusedGuided
from caselli.sampling.pair import expect_same_slots, in_sequence, laid_out


class GuidedEngine(Engine):
    r"""Draws by a prior's logits, led away from those of a weaker prior that knows no condition.

    .. math:: w + s\,(p - w)

    with p the prior's logits under the condition, w the guide's under the null condition, and s the guidance.
    What a guide has not learnt yet is what the prior has learnt last: it counts more. Without a condition
    there is guidance too. At s = 1 the prior's own engine draws.

    Arguments:
        engine: draws from the prior alone.
        guide: a weaker autoregressive prior over the same slots, codebooks and conditions; its configuration
            names the guidance, unless another one is asked for.

    Errors: `UserError` for priors of other kinds or other slots.

    Source: Karras et al. 2024, Guiding a Diffusion Model with a Bad Version of Itself; for sequences, after
    Li et al. 2023, Contrastive Decoding: Open-ended Text Generation as Optimization.
    """

    def __init__(self, engine: Engine, guide: Prior) -> None:
        self.engine, self.prior, self.precision = engine, engine.prior, engine.precision
        use, remedy = "drawing with a guide", "remove guide.json or early.json from the run"
        self.own, self.guide = (in_sequence(prior, use, remedy) for prior in (engine.prior, guide))
        expect_same_slots(self.own, self.guide, "guide")
        expect_same_parts(self.own, self.guide)
        self.rows, self.pair, self.bytes = 0, (self.own, self.guide), 0
        is_fused = isinstance(engine, FusedEngine) and FusedEngine.refusal(guide) is None
        self.fused = FusedGuided(engine, guide) if is_fused else None

    @property
    def name(self) -> str:
        return f"{self.engine.name}, guided by a weaker prior"

    @property
    def guiding(self) -> PriorConfig:
        return self.guide.config

    @property
    def needs_condition(self) -> bool:
        return False

    @torch.no_grad()
    def draw(self, drawing: SeededDrawing) -> None:
        if not drawing.guides:
            self.engine.draw(drawing)
            self.bytes = self.engine.bytes_per_step()
        elif self.fused:
            self.fused.draw(drawing)
            self.bytes = self.fused.bytes_per_step()
        else:
            self._draw(drawing)

    def _draw(self, drawing: SeededDrawing) -> None:
        """Fills the codes step by step in PyTorch."""
        own, guide = self._laid_out(len(drawing.codes))
        known = drawing.codes[:, : drawing.first]
        p, state = own.start(drawing.conditions, len(known), known)
        w, behind = guide.start(drawing.conditions.null(), len(known), known)
        for slot in range(drawing.first, drawing.codes.shape[1]):
            walk = beside(own.code_head.walk(p, slot), guide.code_head.walk(w, slot))
            uniform = drawing.uniform[:, slot].reshape(len(known), -1)
            drawing.fill(slot, drawing.walked(walk, slot, uniform))
            if slot + 1 < drawing.codes.shape[1]:
                p, state = own.step(drawing.codes[:, slot], state)
                w, behind = guide.step(drawing.codes[:, slot], behind)
        carried = sum(tensor.nbytes for each in (state, behind) for tensor in each.carried())
        self.bytes = self.own.weight_bytes() + self.guide.weight_bytes() + carried // 2

    def _laid_out(self, rows: int) -> tuple[Autoregressive, Autoregressive]:
        """Prior and guide, their weights laid out for so many rows."""
        if rows != self.rows:
            self.pair, self.rows = (laid_out(self.own, rows), laid_out(self.guide, rows)), rows
        return self.pair

    def bytes_per_step(self) -> int:
        return self.bytes


def beside(own: Walk, other: Walk) -> Walk:
    """Two walks over the same parts of codes as one, whose logits have the rows of both, the other's behind;
    it ends with the own rows' codes."""
    (logits, first), (others, _) = next(own), next(other)
    while True:
        values = yield torch.cat((logits, others)), first
        rows = len(logits)
        try:
            logits, first = own.send(values[:rows])
        except StopIteration as end:
            return end.value
        others, _ = other.send(values[rows:])


def expect_same_parts(prior: Prior, guide: Prior) -> None:
    """Raises a `UserError` where a guide's head draws codes in other parts than the prior's."""
    own, others = ((each.config.head, each.config.head_options) for each in (prior, guide))
    if own != others:
        raise UserError(
            f"a guide with the head {guide.config.head!r} was given for a prior with {prior.config.head!r}",
            "one head with the same options was expected",
        )
