"""A batch of sequences that are drawn by noise of their own seeds, with guidance and truncation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from caselli.prior import Conditions, Drawing, follow
from caselli.sampling.choice import (
    guided,
    inverse_transform,
    probabilities,
    still_masked,
    sureness,
    uniform_noise,
)
from caselli.sampling.options import Sampling
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
    """Receives the number of codes drawn since its last call."""
    masked_noise: dict[int, tuple] = dataclasses.field(default_factory=dict, init=False)
    """The noise of a masked prior, made once."""

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

    def sampled(self, logits, round, uniform):
        return inverse_transform(probabilities(self.guided(logits, round), self.options), uniform)

    def fill(self, slots, drawn):
        codes = self.codes[:, slots]
        self.codes[:, slots] = torch.where(codes < 0, drawn, codes)
        self.progress(codes.numel())

    def fill_surest(self, head, outputs, round):
        r"""Keeps the codes with the highest sureness.

        .. math:: \log p(x_j \mid c, x_{\text{kept}}) + \tau\,(1 - r)\, g_j

        with r the share of the rounds that is done, τ the choice temperature, g standard Gumbel noise, until
        ⌊N γ(r)⌋ of the N unknown codes are left.

        Source: Chang et al. 2022, MaskGIT: Masked Generative Image Transformer.
        """
        (unknown, noise), options = self._masked_noise(head.parts), self.options
        hidden, numbers = self.codes < 0, noise[:, round]
        log_p = torch.zeros(self.codes.shape, device=self.codes.device)

        def choose(logits: Tensor, first: int) -> Tensor:
            nonlocal log_p
            uniform = numbers[:, first : first + logits.shape[-2]].movedim(1, -1)
            values = self.sampled(logits, round, uniform)
            found = self.guided(logits, round).log_softmax(-1).gather(-1, values[..., None])[..., 0]
            log_p = log_p + found.sum(-1)
            return self.in_rows(values)

        codes = follow(head.walk(outputs, slice(None)), choose)[: len(self.codes)]
        done = (round + 1) / self.rounds
        fading = options.choice_temperature * (1 - done) if done < 1 else 0.0
        sure = sureness(log_p, numbers[:, -1], fading)
        rank = sure.masked_fill(~hidden, torch.inf).argsort(1).argsort(1)
        kept = hidden & (rank >= still_masked(unknown, hidden.sum(1), done, options.mask_schedule)[:, None])
        self.codes.copy_(torch.where(kept, codes, self.codes))
        self.progress(int(kept.sum()))

    def _masked_noise(self, parts: int) -> tuple[Int[Tensor, "B"], Float[Tensor, "B rounds n T"]]:
        """Number of codes to be drawn before the first round; and the uniform numbers of each slot and round:
        one for each part of a code, and one for the choice."""
        if parts not in self.masked_noise:
            numbers = uniform_noise(self.seeds, self.rounds * (parts + 1) * self.codes.shape[1])
            numbers = numbers.to(self.codes.device).view(len(self.codes), self.rounds, parts + 1, -1)
            self.masked_noise[parts] = (self.codes < 0).sum(1), numbers
        return self.masked_noise[parts]
