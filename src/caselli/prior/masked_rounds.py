"""The common part of priors whose codes are drawn in any order, many at a time."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod

import torch

from caselli.errors import UserError, lookup
from caselli.order import halton_numbers
from caselli.prior.base import SequencePrior
from caselli.prior.bracket import tangent_bracket
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.drawing import Drawing
from caselli.prior.task import corrupted
from caselli.schedules import MASK_SCHEDULES
from caselli.shapes import Bool, Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class MaskedOptions:
    """Options of a masked prior."""

    steps: int = 8
    """Rounds in which it draws, unless the options of sampling say otherwise."""
    schedule: str = "cosine"
    """Name in `MASK_SCHEDULES`: the share that is masked in training is γ(u), u uniform."""
    bound_passes: int = 16
    """Passes that the bound is the mean of; with a multiple of T, every number of masked codes occurs."""
    edit_share: float = 0.0
    """Share of the visible codes that are random in training and to be corrected, so that drawn ones can be
    replaced."""

    def __post_init__(self) -> None:
        lookup(MASK_SCHEDULES, "mask schedule", self.schedule)
        for name in ("steps", "bound_passes"):
            if getattr(self, name) < 1:
                raise UserError(f"prior {name} {getattr(self, name)} was given", "at least 1 was expected")
        if not 0 <= self.edit_share < 1:
            raise UserError(f"prior edit_share {self.edit_share} was given", "0 up to 1 was expected")


class MaskedRounds(SequencePrior):
    r"""A masked prior: every code given those that are not masked, by mixers that see both ways.

    Training masks a share γ(u) of the codes and lowers −log p of the masked ones. Drawing takes a few rounds;
    each draws all codes that are still masked, independently, and keeps the surest, see `Drawing.unmask`.
    Known codes are seen from the first round on, wherever they lie. `log_prob` is the lower bound of drawing
    one code after another in random order, and `bracket` bounds it from above too,

    .. math::
        \log p(x \mid c) \ge \mathbb E_\sigma \sum_t \log p(x_{\sigma_t} \mid c, x_{\sigma_{<t}})
        = \sum_{m=1}^{T} \mathbb E_{|M| = m}\, \frac1m \sum_{j \in M} \log p(x_j \mid c, x_{\bar M}),

    estimated without bias by `bound_passes` masks, m stratified. The masks are the same for all sequences and
    at all times, so that scores are comparable and repeatable. A kind gives `logits`.

    Sources: Chang et al. 2022, MaskGIT: Masked Generative Image Transformer; the bound after Uria et al.
    2014, A Deep and Tractable Density Estimator, and Austin et al. 2021, Structured Denoising Diffusion
    Models in Discrete State-Spaces.
    """

    options_kind = MaskedOptions
    sampling_options = ("steps", "mask_schedule", "choice_temperature", "mask_order", "remask", "edit")
    exact = False
    any_order = True
    causal = False

    def __init__(self, config: PriorConfig, alphabet: Alphabet, positions: int) -> None:
        super().__init__(config, alphabet, positions)
        places = alphabet.places or [(0, slot) for slot in range(alphabet.length)]
        self.register_buffer("halton", halton_numbers(places), persistent=False)

    # the distribution ---------------------------------------------------------------------------------------

    @abstractmethod
    def logits(
        self, sequence: Int[Tensor, "B T"], masked: Bool[Tensor, "*B T"], conditioned: tuple
    ) -> Float[Tensor, "B T F"]:
        """Parameters of the head's distribution of every slot; the codes at masked slots do not matter.

        Arguments:
            sequence: codes.
            masked: slots whose code is not seen.
            conditioned: vectors of the conditions, see `SequencePrior.conditioned`.
        """

    def logits_at(self, slot, sequence, condition):
        masked = torch.arange(sequence.shape[1], device=sequence.device) == slot
        return self.logits(sequence, masked, self.conditioned(condition, len(sequence)))[:, slot]

    def log_prob(self, sequence, condition, seen=None):
        conditioned = self.conditioned(condition, len(sequence))
        seen = sequence if seen is None else seen
        total = torch.zeros(sequence.shape, device=sequence.device)
        for masked in self.bound_masks(self.options.bound_passes).to(sequence.device):
            total = total + self._term(sequence, seen, masked, conditioned)
        return total / self.options.bound_passes

    def validation_loss(self, sequence, condition):
        """The mean bound in one pass: every row has a mask of its own."""
        masked = self.bound_masks(len(sequence)).to(sequence.device)
        conditioned = self.conditioned(condition, len(sequence))
        return -self._term(sequence, sequence, masked, conditioned).mean()

    def _term(self, sequence, seen, masked, conditioned) -> Float[Tensor, "B T"]:
        """The bound's estimate by one mask: log p of the masked codes, weighted by T over their number."""
        logits = self.logits(seen, masked, conditioned)
        found = self.code_head.log_prob(logits, sequence, slice(None))
        return found * masked * (self.alphabet.length / masked.sum(-1, keepdim=True))

    def bound_masks(self, passes: int, seed: int = 0) -> Bool[Tensor, "passes T"]:
        """Random masks, their numbers of slots spread evenly over 1 … T."""
        random, length = torch.Generator().manual_seed(seed), self.alphabet.length
        shares = (torch.arange(passes) + torch.rand(passes, generator=random)) / passes
        rank = torch.rand(passes, length, generator=random).argsort(1).argsort(1)
        return rank < (1 + (shares * length).long()).clamp_max(length)[:, None]

    def bracket(self, sequence, condition, orders=8):
        conditioned, length = self.conditioned(condition, len(sequence)), self.alphabet.length
        random = torch.Generator().manual_seed(0)
        paths = [torch.randperm(length, generator=random).to(sequence.device) for _ in range(orders)]
        return tangent_bracket(torch.stack([self._in_order(sequence, p, conditioned) for p in paths]))

    def _in_order(self, sequence, order: Int[Tensor, "T"], conditioned) -> Float[Tensor, "B"]:
        """log p of the sequences with their codes drawn one by one in an order."""
        rank, total = order.argsort(), torch.zeros(len(sequence), device=sequence.device)
        for step, slot in enumerate(order.tolist()):
            logits = self.logits(sequence, rank >= step, conditioned)[:, slot : slot + 1]
            code = sequence[:, slot : slot + 1]
            total = total + self.code_head.log_prob(logits, code, [slot])[:, 0]
        return total

    # training -----------------------------------------------------------------------------------------------

    def training_loss(self, sequence, condition, seen, progress):
        """−log p of the masked codes, mean over the batch; and of the visible ones, where some of them are
        replaced by random ones so that the prior learns to edit."""
        masked, share = self.training_masks(*sequence.shape), self.options.edit_share
        if share:
            seen = corrupted(seen, self.alphabet, share)
        logits = self.logits(seen, masked, self.conditioned(condition, len(sequence)))
        found = -self.code_head.log_prob(logits, sequence, slice(None))
        edited = (found * ~masked).sum() / (~masked).sum().clamp_min(1) if share else 0.0
        return found[masked].mean() + edited

    def training_masks(self, batch: int, length: int) -> Bool[Tensor, "B T"]:
        """Random slots of each row, ⌈γ(u) T⌉ of them, at least one."""
        device = self.offset.device
        share = MASK_SCHEDULES[self.options.schedule](torch.rand(batch, 1, device=device))
        rank = torch.rand(batch, length, device=device).argsort(1).argsort(1)
        return rank < (share * length).ceil().clamp_min(1)

    # drawing ------------------------------------------------------------------------------------------------

    def rounds(self, steps: int = 0) -> int:
        return min(steps or self.options.steps, self.alphabet.length)

    def draw(self, drawing: Drawing) -> int:
        if drawing.edits and not self.options.edit_share:
            raise UserError(
                "edit was given to a masked prior that was not trained to edit",
                "one trained with --prior.prior_options.edit_share was expected",
                "leave it out, or take back codes with remask",
            )
        conditioned = self.conditioned(drawing.row_conditions(), drawing.rows)
        for round in range(drawing.rounds):
            drawing.take_back(self.code_head, round)
            codes = drawing.in_rows(drawing.codes)
            logits = self.logits(codes, codes < 0, conditioned)
            drawing.unmask(self.code_head, logits, round, self.halton)
        return 0
