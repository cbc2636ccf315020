"""How a code is drawn: guidance, temperature, truncation, and noise that is each sample's own."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch

from caselli.errors import UserError, lookup
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

    def __post_init__(self) -> None:
        lookup(SCHEDULES, "guidance schedule", self.guidance_schedule)
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
)


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


def draw(p: Float[Tensor, "B K"], uniform: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
    """The code at which the cumulated probability passes the uniform number: exact inversion.

    Example:
        >>> draw(torch.tensor([[0.5, 0.0, 0.5]]), torch.tensor([0.6]))
        tensor([2])
    """
    cumulated = p.double().cumsum(-1)
    target = uniform.double() * cumulated[:, -1]
    return torch.searchsorted(cumulated, target[:, None], right=True)[:, 0].clamp_max(p.shape[-1] - 1)


def noise(seeds: list[int], length: int) -> Float[Tensor, "B T"]:
    """Uniform numbers of each sample's own seed: a sample does not depend on those beside it."""
    rows = [torch.rand(length, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)
