"""How a code is drawn: guidance, temperature, truncation, and noise that is each sample's own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch

from caselli.errors import UserError, lookup
from caselli.prior.conditions import Conditions
from caselli.prior.schedule import MASK_SCHEDULES
from caselli.shapes import Float, Int, Tensor

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda share: 1.0,
    "linear": lambda share: share,
    "cosine": lambda share: (1 - math.cos(math.pi * share)) / 2,
}
"""How much of the guidance is in force when a share of the sequence has been drawn."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a code is drawn from its distribution.

    Errors: `UserError` for a value out of its range.

    Sources: Holtzman et al. 2020, The Curious Case of Neural Text Degeneration (top-p); Nguyen et al. 2024,
    Turning Up the Heat: Min-p Sampling; Ho and Salimans 2022, Classifier-Free Diffusion Guidance;
    Kynkäänniemi et al. 2024, Applying Guidance in a Limited Interval; Yu et al. 2024, Randomized
    Autoregressive Visual Generation (guidance that grows along the sequence).
    """

    temperature: float = 1.0
    """Divides the logits; 0 takes the likeliest code."""
    top_k: int = 0
    """Draws from the k likeliest codes; 0 for all."""
    top_p: float = 1.0
    """Draws from the likeliest codes that together hold this probability."""
    min_p: float = 0.0
    """Draws from the codes that have at least this share of the likeliest one's probability."""
    guidance: float = 1.0
    """s: the logits are u + s (c − u), c those of the condition, u those of the null condition."""
    guidance_schedule: str = "constant"
    """Name in `SCHEDULES`: s from the first code on, or growing from 1 to s over the sequence."""
    guidance_from: float = 0.0
    """Share of the sequence before which there is no guidance."""
    guidance_to: float = 1.0
    """Share of the sequence behind which there is none."""
    steps: int = 0
    """Rounds in which a masked prior draws a picture; 0 for as many as it was built for."""
    mask_schedule: str = "cosine"
    """Name in `MASK_SCHEDULES`: how many codes a masked prior leaves to the later rounds."""
    choice_temperature: float = 4.5
    """Noise in a masked prior's choice of what to keep, which fades over the rounds: 0 keeps the surest
    codes, inf any."""

    def __post_init__(self) -> None:
        lookup(SCHEDULES, "guidance schedule", self.guidance_schedule)
        lookup(MASK_SCHEDULES, "mask schedule", self.mask_schedule)
        for name, least, most in _RANGES:
            value = getattr(self, name)
            if not least <= value <= most or (name == "top_p" and value == 0):
                expected = f"{least} to {most}" if most < math.inf else f"{least} or more"
                raise UserError(f"{name.replace('_', '-')} {value} was given", f"{expected} was expected")
        if self.guidance_from > self.guidance_to:
            raise UserError(
                f"guidance-from {self.guidance_from} and guidance-to {self.guidance_to} were given",
                "an interval was expected",
            )

    def strengths(self, length: int) -> list[float]:
        """s at each of `length` slots; 1 where there is no guidance.

        Example:
            >>> Sampling(guidance=3.0, guidance_schedule="linear", guidance_to=0.5).strengths(5)
            [1.0, 1.5, 2.0, 1.0, 1.0]
        """
        shares = [slot / max(1, length - 1) for slot in range(length)]
        grown = SCHEDULES[self.guidance_schedule]
        return [
            1.0 + (self.guidance - 1.0) * grown(share)
            if self.guidance_from <= share <= self.guidance_to
            else 1.0
            for share in shares
        ]


_RANGES = (
    ("temperature", 0, math.inf),
    ("top_k", 0, math.inf),
    ("top_p", 0, 1),
    ("min_p", 0, 1),
    ("guidance", 0, math.inf),
    ("guidance_from", 0, 1),
    ("guidance_to", 0, 1),
    ("steps", 0, math.inf),
    ("choice_temperature", 0, math.inf),
)


OF_MASKED = ("steps", "mask_schedule", "choice_temperature")
"""What only a masked prior can follow."""

AS_LEARNED = Sampling()
"""From the prior's own distribution."""


def guided(logits: Float[Tensor, "2B K"], strength: float | Float[Tensor, ""]) -> Float[Tensor, "B K"]:
    r"""Classifier-free guidance; the rows of the condition come first, then those of the null condition.

    .. math:: u + s\,(c - u)

    An entry that the slot does not allow stays at −∞.

    Source: Ho and Salimans 2022, Classifier-Free Diffusion Guidance.

    Example:
        >>> guided(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), 2.0)
        tensor([[2., 4.]])
    """
    condition, null = logits.chunk(2)
    return (null + strength * (condition - null)).masked_fill(condition.isneginf(), -torch.inf)


def probabilities(logits: Float[Tensor, "B K"], options: Sampling) -> Float[Tensor, "B K"]:
    """What is drawn from: temperature first, then top-k, top-p and min-p, each of what the one before left.

    Example:
        >>> probabilities(torch.tensor([[2.0, 1.0, 0.0]]), Sampling(top_k=1))
        tensor([[1., 0., 0.]])
    """
    if options.temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    if options.temperature != 1:
        logits = logits / options.temperature
    if 0 < options.top_k < logits.shape[-1]:
        least = logits.topk(options.top_k).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    p = logits.softmax(-1)
    if options.top_p < 1:
        ordered, index = p.sort(-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        p = p.scatter(-1, index, ordered.masked_fill(before >= options.top_p, 0.0))
    if options.min_p > 0:
        p = p.masked_fill(p < options.min_p * p.amax(-1, keepdim=True), 0.0)
    return p / p.sum(-1, keepdim=True)


def draw(p: Float[Tensor, "*B K"], uniform: Float[Tensor, "*B"]) -> Int[Tensor, "*B"]:
    """The code at which the cumulated probability passes the uniform number: exact inversion.

    Example:
        >>> draw(torch.tensor([[0.5, 0.0, 0.5]]), torch.tensor([0.6]))
        tensor([2])
    """
    cumulated = p.double().cumsum(-1)
    target = uniform.double() * cumulated[..., -1]
    found = torch.searchsorted(cumulated, target[..., None].contiguous(), right=True)
    return found[..., 0].clamp_max(p.shape[-1] - 1)


def noise(seeds: list[int], length: int) -> Float[Tensor, "B T"]:
    """Uniform numbers of each sample's own seed: a sample does not depend on those beside it."""
    rows = [torch.rand(length, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A batch of sequences that are to be drawn."""

    codes: Int[Tensor, "B T"]
    """Filled in place: −1 where a code is to be drawn, known codes in front."""
    first: int
    """Slots that are known in every row, less than T."""
    conditions: Conditions
    """What is known of each sequence."""
    uniform: Float[Tensor, "B T"]
    """The noise of each slot's draw."""
    seeds: list[int]
    """Of each sample, for priors that need more noise than that."""
    strengths: list[float]
    """Guidance in each round: at each slot, where a round draws one."""
    options: Sampling
    progress: Callable[[int], None]
    """Told the number of codes drawn since it was last told."""

    @property
    def guides(self) -> bool:
        """Whether there is guidance in any round."""
        return any(strength != 1 for strength in self.strengths)

    @property
    def rows(self) -> int:
        """R: B, or 2 B under guidance, those of which nothing is known last."""
        return len(self.codes) * (2 if self.guides else 1)

    def row_conditions(self) -> Conditions:
        """Those of each row."""
        return self.conditions.doubled() if self.guides else self.conditions

    def doubled(self, codes: Int[Tensor, "B *T"]) -> Int[Tensor, "R *T"]:
        """Codes for every row."""
        return torch.cat((codes, codes)) if self.guides else codes

    def known(self) -> tuple[Conditions, int, Tensor]:
        """What `Autoregressive.start` takes: conditions, rows, and the codes known in every row."""
        return self.row_conditions(), self.rows, self.doubled(self.codes[:, : self.first])

    def guided(self, logits: Float[Tensor, "R *T K"], round: int) -> Float[Tensor, "B *T K"]:
        """The logits of every row as those of every sample."""
        return guided(logits, self.strengths[round]) if self.guides else logits

    def distribution(self, logits: Float[Tensor, "R *T K"], round: int) -> Float[Tensor, "B *T K"]:
        """What a round draws from: the logits guided, tempered and truncated."""
        return probabilities(self.guided(logits, round), self.options)

    def fill(self, slots: int | slice | Tensor, drawn: Int[Tensor, "B *T"]) -> None:
        """Puts what was drawn where the codes are not known; known ones stay."""
        codes = self.codes[:, slots]
        self.codes[:, slots] = torch.where(codes < 0, drawn, codes)
        self.progress(codes.numel())
