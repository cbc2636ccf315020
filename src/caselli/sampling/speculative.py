"""The engine of two priors: a small one proposes codes, a large one accepts or replaces them."""

from __future__ import annotations

import torch

from caselli.errors import UserError
from caselli.prior import Autoregressive, Prior
from caselli.sampling.base import Engine
from caselli.sampling.choice import inverse_transform, uniform_noise
from caselli.sampling.drawing import SeededDrawing
from caselli.sampling.fused_pair import FusedPair
from caselli.sampling.pair import expect_same_slots, expect_tabular, in_sequence, laid_out
from caselli.sampling.rounding import own_precision, rounded
from caselli.shapes import Float, Int, Tensor


class SpeculativeEngine(Engine):
    r"""Draws from a large prior as often as a small one guesses wrong.

    The draft q draws a few codes one by one; the prior p reads them at once. Each code x is kept with
    probability min(1, p(x) / q(x)), and the first that is not is drawn again from

    .. math:: p'(x) \propto \max(0,\ p(x) - q(x)),

    so that the sequences are distributed exactly as p says. Guidance, temperature and truncation make the p
    and the q of these lines. Each slot has noise of its own, so that a sequence does not depend on how many
    codes were proposed together, nor on the sequences beside it. Where the fused step serves both priors, all
    of this is compiled code, for one sequence after another; else a batch goes on from the first code that is
    refused in any of its sequences. The gain is greatest for one sequence.

    Arguments:
        prior: the distribution; autoregressive, or one of any order in sequence, see `Prior.straight`.
        draft: another such prior over the same slots, codebooks and conditions.
        precision: the prior's linear layers' weights are rounded to it; None for the one they are stored in.
        proposals: codes that the draft draws before the prior reads them; by default six, and four under
            guidance, where each has two rows.

    Errors: `UserError` for priors of other kinds or other slots.

    Source: Leviathan, Kalman and Matias 2023, Fast Inference from Transformers via Speculative Decoding.
    """

    def __init__(
        self, prior: Prior, draft: Prior, precision: str | None = None, proposals: int | None = None
    ) -> None:
        if proposals is not None and proposals < 1:
            raise UserError(f"{proposals} proposals were given", "at least 1 was expected")
        self.precision = precision or own_precision(prior)
        use, remedy = "speculative drawing", "leave out --draft"
        own, self.draft = in_sequence(prior, use, remedy), in_sequence(draft, use, remedy)
        for each in (own, self.draft):
            expect_tabular(each, use, remedy)
        expect_same_slots(own, self.draft, "draft")
        self.fused = None
        if FusedPair.refusal(own, self.draft) is None:
            self.fused = FusedPair(own, self.draft, self.precision)
        self.prior = self.fused.engine.prior if self.fused else rounded(own, self.precision)
        self.proposals = proposals
        self.rows, self.pair, self.bytes = 0, (self.prior, self.draft), 0
        self.proposed, self.accepted = 0, 0

    @property
    def name(self) -> str:
        share = f", {self.accepted / self.proposed:.0%} of the proposals kept" if self.proposed else ""
        return f"speculative{f', {self.fused.engine.name}' if self.fused else ''}{share}"

    @torch.no_grad()
    def draw(self, drawing: SeededDrawing) -> None:
        length = drawing.codes.shape[1]
        noise = uniform_noise(drawing.seeds, 3 * length)[:, length:].to(drawing.codes.device)
        noise = noise.view(len(noise), 2, length)
        if self.fused:
            counts = self.fused.draw(drawing, noise, self._count(drawing))
            self.proposed, self.accepted = self.proposed + counts.read, self.accepted + counts.kept
            self.bytes = counts.bytes // (len(noise) * (length - drawing.first))
        else:
            self._draw(drawing, *noise.unbind(1))

    def _draw(
        self, drawing: SeededDrawing, accept: Float[Tensor, "B T"], again: Float[Tensor, "B T"]
    ) -> None:
        """Fills the codes step by step in PyTorch."""
        prior, draft = self._packed(drawing)
        length, slot = drawing.codes.shape[1], drawing.first
        p, state = prior.start(*drawing.start())
        q, guess = draft.start(*drawing.start())
        p, q = (drawing.distribution(logits, slot) for logits in (p, q))
        proposed = _proposal(drawing, draft, q, slot)
        self._settle(drawing, proposed[:, None], p[:, None], q[:, None], accept, again, slot)
        slot, passes, guessed = slot + 1, 1, 1
        while slot < length:
            count, guesses, tokens, qs = min(self._count(drawing), length - slot), [], [], []
            token = drawing.codes[:, slot - 1]
            for number in range(count):
                logits, guess = draft.step(drawing.in_rows(token), guess)
                guesses.append(guess)
                qs.append(drawing.distribution(logits, slot + number))
                token = _proposal(drawing, draft, qs[-1], slot + number)
                tokens.append(token)
            proposed = torch.stack(tokens, 1)
            read = drawing.in_rows(torch.cat((drawing.codes[:, slot - 1 : slot], proposed[:, :-1]), 1))
            logits, after = prior.extend(read, state)
            ps = [drawing.distribution(logits[:, n], slot + n) for n in range(count)]
            p, q = torch.stack(ps, 1), torch.stack(qs, 1)
            settled = self._settle(drawing, proposed, p, q, accept, again, slot)
            state = after if settled == count else prior.cut(state, after, read[:, :settled])
            guess, slot = guesses[settled - 1], slot + settled
            passes, guessed = passes + 1, guessed + count
        read_bytes = passes * self.prior.weight_bytes() + guessed * self.draft.weight_bytes()
        self.bytes = read_bytes // (length - drawing.first)

    def _settle(
        self,
        drawing: SeededDrawing,
        proposed: Int[Tensor, "B n"],
        p: Float[Tensor, "B n K"],
        q: Float[Tensor, "B n K"],
        accept: Float[Tensor, "B T"],
        again: Float[Tensor, "B T"],
        slot: int,
    ) -> int:
        """Fills slots from `slot` on up to the first whose proposal is refused in any sequence.

        Returns: how many.
        """
        slots = slice(slot, slot + proposed.shape[1])
        entry = (proposed + self.prior.offset[slots])[..., None]
        ratio = p.gather(2, entry)[..., 0] / q.gather(2, entry)[..., 0]
        known = drawing.codes[:, slots] >= 0
        kept = (accept[:, slots] < ratio) | known
        # where p and q are equal to the last digit nothing is left of their difference
        rest = (p - q).clamp_min(0)
        rest = torch.where(rest.sum(2, keepdim=True) > 0, rest, p)
        other = inverse_transform(rest, again[:, slots]) - self.prior.offset[slots]
        agreed = kept.all(0).long().cumprod(0).sum().item()
        settled = min(agreed + 1, proposed.shape[1])
        now = torch.where(kept, proposed, other)[:, :settled]
        self.proposed += now.numel()
        self.accepted += int(kept[:, :settled].sum())
        drawing.fill(slice(slot, slot + settled), now)
        return settled

    def _count(self, drawing: SeededDrawing) -> int:
        """Codes that the draft draws before the prior reads them."""
        return self.proposals or (4 if drawing.guides else 6)

    def _packed(self, drawing: SeededDrawing) -> tuple[Autoregressive, Autoregressive]:
        """Prior and draft, their weights laid out for the rows that go through them where that can be."""
        rows = drawing.rows
        if rows != self.rows:
            counts = (rows * self._count(drawing), rows)
            pair = zip((self.prior, self.draft), counts, strict=True)
            self.pair = tuple(laid_out(each, count) for each, count in pair)
            self.rows = rows
        return self.pair

    def bytes_per_step(self) -> int:
        return self.bytes


def _proposal(drawing: SeededDrawing, draft: Prior, q: Float[Tensor, "B K"], slot: int) -> Int[Tensor, "B"]:
    """Codes of a slot that the draft draws; those that are known as they are."""
    drawn = inverse_transform(q, drawing.uniform[:, slot]) - draft.offset[slot]
    there = drawing.codes[:, slot]
    return torch.where(there < 0, drawn, there)
