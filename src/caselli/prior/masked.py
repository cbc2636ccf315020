"""A distribution over sequences of codes that are drawn in any order, many at a time."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import nn

from caselli.errors import UserError, lookup
from caselli.prior.base import SequencePrior
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.drawing import Drawing, Sampling, draw, noise
from caselli.prior.schedule import MASK_SCHEDULES
from caselli.shapes import Bool, Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class MaskedOptions:
    """What only a masked prior knows."""

    steps: int = 8
    """Rounds in which it draws, unless told otherwise."""
    schedule: str = "cosine"
    """Name in `MASK_SCHEDULES`: the share that is masked in training is γ(u), u uniform."""
    bound_passes: int = 16
    """Passes of which the bound is the mean; of a multiple of T, each number of masked codes is there."""

    def __post_init__(self) -> None:
        lookup(MASK_SCHEDULES, "mask schedule", self.schedule)
        for name in ("steps", "bound_passes"):
            if getattr(self, name) < 1:
                raise UserError(f"prior {name} {getattr(self, name)} was given", "at least 1 was expected")


class Masked(SequencePrior):
    r"""Every code from those that are not masked, by mixers that see both ways; drawn in a few rounds.

    Training masks a share γ(u) of the codes and lowers −log p of the masked ones. A round of drawing draws
    all codes that are still masked, each for itself, and keeps those with the highest

    .. math:: \log p(x_j \mid c, x_{\text{kept}}) + \tau\,(1 - r)\, g_j

    with r the share of the rounds that is done, τ the choice temperature, g standard Gumbel noise, until
    ⌊N γ(r)⌋ of the N unknown codes are left. Whatever is known is seen from the first round on, wherever it
    lies. `log_prob` is the lower bound of drawing one code after another in random order,

    .. math::
        \log p(x \mid c) \ge \mathbb E_\sigma \sum_t \log p(x_{\sigma_t} \mid c, x_{\sigma_{<t}})
        = \sum_{m=1}^{T} \mathbb E_{|M| = m}\, \frac1m \sum_{j \in M} \log p(x_j \mid c, x_{\bar M}),

    estimated without bias by `bound_passes` masks, m stratified. The masks are the same for all sequences and
    at all times, so that scores are comparable and repeatable.

    Arguments:
        config: the architecture; see `MaskedOptions`.
        alphabet: slots, codebooks and conditions.

    Sources: Chang et al. 2022, MaskGIT: Masked Generative Image Transformer; the bound after Uria et al.
    2014, A Deep and Tractable Density Estimator, and Austin et al. 2021, Structured Denoising Diffusion
    Models in Discrete State-Spaces.

    Example:
        >>> prior = Masked(PriorConfig(kind="masked", width=32, depth=1), Alphabet((8,), (0,) * 4))
        >>> prior.log_prob(torch.zeros(2, 4, dtype=torch.int64), None).shape
        torch.Size([2, 4])
    """

    kind = "masked"
    options_kind = MaskedOptions
    exact = False
    any_order = True
    causal = False

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        super().__init__(config, alphabet, alphabet.length)
        self.mask = nn.Parameter(0.02 * torch.randn(config.width))

    # the distribution ---------------------------------------------------------------------------------------

    def logits(
        self, sequence: Int[Tensor, "B T"], masked: Bool[Tensor, "*B T"], told: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "B T K"]:
        """Unnormalised log-probabilities of every slot; the codes at masked slots do not matter."""
        prefix, positions = told
        known = self.code(torch.where(masked, 0, sequence) + self.offset)
        x = torch.where(masked[..., None], self.mask, known) + positions
        y, _ = self.through(torch.cat((prefix, x), 1))
        return self.entries(y[:, prefix.shape[1] :], self.allowed)

    def log_prob(self, sequence, condition, seen=None):
        told, seen = self.told(condition, len(sequence)), sequence if seen is None else seen
        total = torch.zeros(sequence.shape, device=sequence.device)
        for masked in self.bound_masks(self.options.bound_passes).to(sequence.device):
            total = total + self._term(sequence, seen, masked, told)
        return total / self.options.bound_passes

    def validation_loss(self, sequence, condition):
        """The mean bound in one pass: every row has a mask of its own."""
        masked = self.bound_masks(len(sequence)).to(sequence.device)
        return -self._term(sequence, sequence, masked, self.told(condition, len(sequence))).mean()

    def _term(self, sequence, seen, masked, told) -> Float[Tensor, "B T"]:
        """What a mask says of the bound: log p of the masked codes, in proportion to their number."""
        found = self.chosen(self.logits(seen, masked, told), sequence, self.offset)
        return found * masked * (self.alphabet.length / masked.sum(-1, keepdim=True))

    def bound_masks(self, passes: int, seed: int = 0) -> Bool[Tensor, "passes T"]:
        """Random masks, their numbers of slots spread evenly over 1 … T."""
        random, length = torch.Generator().manual_seed(seed), self.alphabet.length
        shares = (torch.arange(passes) + torch.rand(passes, generator=random)) / passes
        rank = torch.rand(passes, length, generator=random).argsort(1).argsort(1)
        return rank < (1 + (shares * length).long()).clamp_max(length)[:, None]

    # training -----------------------------------------------------------------------------------------------

    def training_loss(self, sequence, condition, seen, progress):
        """−log p of the masked codes, mean over all of the batch's."""
        masked = self.training_masks(*sequence.shape)
        logits = self.logits(seen, masked, self.told(condition, len(sequence)))
        return -self.chosen(logits, sequence, self.offset)[masked].mean()

    def training_masks(self, batch: int, length: int) -> Bool[Tensor, "B T"]:
        """Random slots of each row, ⌈γ(u) T⌉ of them, at least one."""
        device = self.offset.device
        share = MASK_SCHEDULES[self.options.schedule](torch.rand(batch, 1, device=device))
        rank = torch.rand(batch, length, device=device).argsort(1).argsort(1)
        return rank < (share * length).ceil().clamp_min(1)

    # drawing ------------------------------------------------------------------------------------------------

    def rounds(self, options: Sampling) -> int:
        return min(options.steps or self.options.steps, self.alphabet.length)

    def draw(self, drawing: Drawing) -> int:
        codes, rounds = drawing.codes, len(drawing.strengths)
        unknown = (codes < 0).sum(1)
        told = self.told(drawing.row_conditions(), drawing.rows)
        random = noise(drawing.seeds, rounds * 2 * codes.shape[1]).to(codes.device)
        for round, numbers in enumerate(random.view(len(codes), rounds, 2, -1).unbind(1)):
            hidden = codes < 0
            logits = self.logits(drawing.doubled(codes), drawing.doubled(hidden), told)
            entry = draw(drawing.distribution(logits, round), numbers[:, 0])
            log_p = drawing.guided(logits, round).log_softmax(-1).gather(2, entry[..., None])[..., 0]
            r = (round + 1) / rounds
            fading = drawing.options.choice_temperature * (1 - r) if r < 1 else 0.0
            surety = sureness(log_p, numbers[:, 1], fading)
            rank = surety.masked_fill(~hidden, torch.inf).argsort(1).argsort(1)
            kept = hidden & (rank >= left(unknown, hidden.sum(1), r, drawing.options.mask_schedule)[:, None])
            codes.copy_(torch.where(kept, entry - self.offset, codes))
            drawing.progress(int(kept.sum()))
        return 0


def sureness(
    log_p: Float[Tensor, "B T"], uniform: Float[Tensor, "B T"], temperature: float
) -> Float[Tensor, "B T"]:
    """The logarithm of the probability with Gumbel noise of a temperature; at inf the noise alone.

    Example:
        >>> sureness(torch.tensor([[-1.0]]), torch.tensor([[0.5]]), 0.0)
        tensor([[-1.]])
    """
    gumbel = -torch.log(-torch.log(uniform))
    if temperature == 0:
        return log_p
    return gumbel if math.isinf(temperature) else log_p + temperature * gumbel


def left(unknown: Int[Tensor, "B"], hidden: Int[Tensor, "B"], done: float, schedule: str) -> Int[Tensor, "B"]:
    """How many codes stay masked: the schedule's share of all unknown ones, but fewer than now.

    Example:
        >>> left(torch.tensor([16, 3]), torch.tensor([16, 1]), 0.5, "cosine")
        tensor([11,  0])
    """
    if done == 1:
        return torch.zeros_like(hidden)
    share = MASK_SCHEDULES[schedule](torch.tensor(done, dtype=torch.float64)).item()
    wanted = (unknown * share + 1e-6).long().clamp_min(1)  # what is whole stays whole
    return torch.minimum(wanted, hidden - 1)
