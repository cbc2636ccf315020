"""The rounds of a masked prior: which codes are kept, taken back, or replaced."""

from __future__ import annotations

import torch

from caselli.sampling.choice import still_masked, sureness, uniform_noise
from caselli.sampling.options import Sampling
from caselli.shapes import Float, Int, Tensor


class Unmasking:
    r"""Codes of a batch that are unmasked round by round.

    A round keeps drawn codes until ⌊N γ(r)⌋ of the N unknown ones are left, r the share of the rounds that is
    done. With `mask_order: surest` it keeps those with the highest

    .. math:: \log p(x_j \mid c, x_{\text{kept}}) + \tau\,(1 - r)\, g_j

    with τ the choice temperature and g standard Gumbel noise; with `halton` those that come first in the
    Halton sequence over the grid, each sequence beginning somewhere else in it. Before each round but the
    first, `remask` takes back a share of the codes that were drawn, those that were least probable when they
    were; and `edit` replaces a drawn code by another whose probability, given all others, is higher than it.
    Known codes stay.

    Sources: Chang et al. 2022, MaskGIT: Masked Generative Image Transformer; Besnier et al. 2025, Halton
    Scheduler for Masked Generative Image Transformer; Wang et al. 2025, Remasking Discrete Diffusion Models
    with Inference-Time Scaling.

    Arguments:
        codes: changed in place; −1 where one is to be drawn.
        seeds: of each sequence.
        rounds: number of rounds.
        options: schedule, order and noise.
        parts: parts of a code that are drawn one by one, see `caselli.prior.Head`.
    """

    def __init__(
        self, codes: Int[Tensor, "B T"], seeds: list[int], rounds: int, options: Sampling, parts: int = 1
    ) -> None:
        self.codes, self.rounds, self.options = codes, rounds, options
        self.drawable = codes < 0
        self.unknown = self.drawable.sum(1)
        numbers = uniform_noise(seeds, rounds * (parts + 1) * codes.shape[1]).to(codes.device)
        self.noise = numbers.view(len(codes), rounds, parts + 1, -1)
        """Uniform numbers of each slot and round: one for each part of its code, and one for the choice."""
        self.log_p = torch.zeros(codes.shape, dtype=torch.float64, device=codes.device)
        """Logarithm of the probability of each drawn code, when it was drawn."""

    def take_back(self) -> int:
        """Masks a share of the codes that earlier rounds have drawn.

        Returns: how many.
        """
        drawn = self.drawable & (self.codes >= 0)
        count = (drawn.sum(1) * self.options.remask).long()
        rank = self.log_p.masked_fill(~drawn, torch.inf).argsort(1).argsort(1)
        self.codes.masked_fill_(drawn & (rank < count[:, None]), -1)
        return int(count.sum())

    def keep(
        self,
        drawn: Int[Tensor, "B T"],
        log_p: Float[Tensor, "B T"],
        round: int,
        halton: Int[Tensor, "T"],
    ) -> int:
        """Unmasks the codes that a round may keep.

        Arguments:
            drawn: code of every slot.
            log_p: logarithm of its probability.
            round: number of the round.
            halton: number of each slot in the Halton sequence.

        Returns: how many.
        """
        hidden, done = self.codes < 0, (round + 1) / self.rounds
        if self.options.mask_order == "halton":
            begin = (self.noise[:, 0, -1, :1] * len(halton)).long()
            sure = -((halton + begin) % len(halton)).double()
        else:
            fading = self.options.choice_temperature * (1 - done) if done < 1 else 0.0
            sure = sureness(log_p, self.noise[:, round, -1], fading)
        rank = sure.masked_fill(~hidden, torch.inf).argsort(1).argsort(1)
        left = still_masked(self.unknown, hidden.sum(1), done, self.options.mask_schedule)
        kept = hidden & (rank >= left[:, None])
        self.codes.copy_(torch.where(kept, drawn, self.codes))
        self.log_p = torch.where(kept, log_p.double(), self.log_p)
        return int(kept.sum())

    def edit(self, likeliest: Int[Tensor, "B T"], log_p: Float[Tensor, "B T"]) -> None:
        """Replaces drawn codes by others that are likely enough.

        Arguments:
            likeliest: code of every slot.
            log_p: logarithm of its probability.
        """
        likely = log_p > torch.tensor(self.options.edit, dtype=torch.float64).log()
        changed = self.drawable & (self.codes >= 0) & likely
        self.codes.copy_(torch.where(changed, likeliest, self.codes))
        self.log_p = torch.where(changed, log_p.double(), self.log_p)
