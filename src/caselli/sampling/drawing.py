"""A batch of sequences that are drawn by noise of their own seeds, with guidance and truncation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from caselli.prior import Conditions, Drawing, Head, follow
from caselli.sampling.choice import guided, inverse_transform, probabilities
from caselli.sampling.options import Sampling
from caselli.sampling.unmasking import Unmasking
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class SeededDrawing(Drawing):
    """A batch of sequences to be drawn; the same seed gives the same sequence in any batch."""

    codes: Int[Tensor, "B T"]
    first: int
    conditions: Conditions
    """The condition of each sequence."""
    uniform: Float[Tensor, "B T ..."]
    seeds: list[int]
    """The seed of each sequence, for priors that need more noise than `uniform`."""
    strengths: list[float]
    """Guidance in each round."""
    options: Sampling
    progress: Callable[[int], None]
    """Receives the number of codes drawn since its last call, less those taken back."""
    unmaskings: dict[int, Unmasking] = dataclasses.field(default_factory=dict, init=False)
    """The rounds of a masked prior, by the number of parts of its head; made once."""

    @property
    def rounds(self) -> int:
        return len(self.strengths)

    @property
    def schedule(self) -> str:
        return self.options.mask_schedule

    def part(self, rows):
        own = {"codes": self.codes[rows], "uniform": self.uniform[rows]}
        seeds = [self.seeds[row] for row in rows.tolist()]
        return dataclasses.replace(self, **own, conditions=self.conditions.rows(rows), seeds=seeds)

    @property
    def guides(self) -> bool:
        """True where there is guidance in any round."""
        return any(strength != 1 for strength in self.strengths)

    @property
    def rows(self) -> int:
        return len(self.codes) * (2 if self.guides else 1)

    def row_conditions(self) -> Conditions:
        return self.conditions.doubled() if self.guides else self.conditions

    def in_rows(self, x):
        return torch.cat((x, x)) if self.guides else x

    def guided(self, logits: Float[Tensor, "R *T K"], round: int) -> Float[Tensor, "B *T K"]:
        """The logits of the sequences from those of the rows."""
        return guided(logits, self.strengths[round]) if self.guides else logits

    def distribution(self, logits: Float[Tensor, "R *T K"], round: int) -> Float[Tensor, "B *T K"]:
        """Probabilities to draw by, in float32, from the logits of a round: guided, at a temperature,
        truncated."""
        return probabilities(self.guided(logits.float(), round), self.options)

    def sampled(self, logits, round, uniform):
        return inverse_transform(self.distribution(logits, round), uniform)

    def fill(self, slots, drawn):
        codes = self.codes[:, slots]
        self.codes[:, slots] = torch.where(codes < 0, drawn, codes)
        self.progress(codes.numel())

    @property
    def edits(self) -> bool:
        return self.options.edit > 0

    def take_back(self, head, round):
        if round and self.options.remask:
            self.progress(-self._unmasking(head.parts).take_back())

    def unmask(self, head, outputs, round, halton):
        unmasking = self._unmasking(head.parts)
        numbers = unmasking.noise[:, round]

        def drawn(logits: Tensor, first: int) -> Tensor:
            uniform = numbers[:, first : first + logits.shape[-2]].movedim(1, -1)
            return self.sampled(logits, round, uniform)

        def likeliest(logits: Tensor, first: int) -> Tensor:
            return self.guided(logits, round).argmax(-1)

        codes, log_p = self._walked(head, outputs, round, drawn)
        if self.edits:
            unmasking.edit(*self._walked(head, outputs, round, likeliest))
        self.progress(unmasking.keep(codes, log_p, round, halton))

    def _walked(
        self, head: Head, outputs: Float[Tensor, "R T F"], round: int, chosen: Callable[[Tensor, int], Tensor]
    ) -> tuple[Int[Tensor, "B T"], Float[Tensor, "B T"]]:
        """Codes whose parts are chosen one after another, and the logarithms of their probabilities."""
        log_p = torch.zeros(self.codes.shape, device=self.codes.device)

        def choose(logits: Tensor, first: int) -> Tensor:
            nonlocal log_p
            values = chosen(logits, first)
            found = self.guided(logits, round).log_softmax(-1).gather(-1, values[..., None])[..., 0]
            log_p = log_p + found.sum(-1)
            return self.in_rows(values)

        return follow(head.walk(outputs, slice(None)), choose)[: len(self.codes)], log_p

    def _unmasking(self, parts: int) -> Unmasking:
        """The rounds of a masked prior; first asked for before the first of them."""
        if parts not in self.unmaskings:
            self.unmaskings[parts] = Unmasking(self.codes, self.seeds, self.rounds, self.options, parts)
        return self.unmaskings[parts]
