"""The options of drawing. This file needs no torch, so that a command can make its arguments from it."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from caselli.errors import UnknownName, UserError, lookup
from caselli.schedules import GUIDANCE_SCHEDULES, MASK_SCHEDULES

if TYPE_CHECKING:
    from caselli.prior import PriorConfig

MASK_ORDERS = ("surest", "halton")
"""Codes that a masked prior keeps first."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Options of drawing: temperature, truncation, guidance, and rounds of many codes at once.

    Those of rounds, from `steps` on, are for priors whose class names them in `Prior.sampling_options`: the
    first two for masked and parallel-order priors, the others for masked ones, and `edit` for those of them
    that were trained with `edit_share`.

    Errors: `UserError` for a value out of its range.

    Sources: Holtzman et al. 2020, The Curious Case of Neural Text Degeneration (top-p); Nguyen et al. 2024,
    Turning Up the Heat: Min-p Sampling; Ho and Salimans 2022, Classifier-Free Diffusion Guidance;
    Kynkäänniemi et al. 2024, Applying Guidance in a Limited Interval; Yu et al. 2024, Randomized
    Autoregressive Visual Generation (guidance that grows along the sequence).

    Example:
        >>> Sampling(top_k=5).changed()
        {'top_k': 5}
    """

    temperature: float = 1.0
    """Divisor of the logits: 1 draws as learned, 0 takes the likeliest code."""
    top_k: int = 0
    """Number of the likeliest codes that are drawn from; 0 for all."""
    top_p: float = 1.0
    """Probability held by the likeliest codes that are drawn from; 1 for all."""
    min_p: float = 0.0
    """Least probability of a code, as a share of the likeliest's; 0 for all."""
    guidance: float | None = None
    """Strength s of label, caption or picture (the run's own), 1 as learned, 2 to 4 clearer: logits are
    u + s (c − u), c with the condition and u without."""
    guidance_schedule: str | None = None
    """Growth of guidance from 1 to s along the sequence: constant, linear or cosine (the run's own)."""
    guidance_from: float = 0.0
    """Share of the sequence at which guidance begins."""
    guidance_to: float = 1.0
    """Share of the sequence at which guidance ends."""
    steps: int = 0
    """Rounds in which a masked or parallel-order prior draws; 0 for its own."""
    mask_schedule: str = "cosine"
    """Number of codes that are left to later rounds: cosine, arccos, linear, square, cubic or root."""
    choice_temperature: float = 4.5
    """Noise in the choice of codes to keep: 0 for the surest, inf for any."""
    mask_order: str = "surest"
    """Codes kept first: surest, or halton, evenly spread over the picture."""
    remask: float = 0.0
    """Share of drawn codes, the least probable, taken back before each round."""
    edit: float = 0.0
    """Least probability of a code that replaces a drawn one; 0 for never."""

    def __post_init__(self) -> None:
        if self.guidance_schedule is not None:
            lookup(GUIDANCE_SCHEDULES, "guidance schedule", self.guidance_schedule)
        lookup(MASK_SCHEDULES, "mask schedule", self.mask_schedule)
        if self.mask_order not in MASK_ORDERS:
            raise UnknownName("mask order", self.mask_order, MASK_ORDERS)
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is None:
                continue
            if not least <= value <= most or (name == "top_p" and value == 0):
                expected = f"{least} to {most}" if most < math.inf else f"{least} or more"
                raise UserError(f"{name.replace('_', '-')} {value} was given", f"{expected} was expected")
        if self.guidance_from > self.guidance_to:
            raise UserError(
                f"guidance-from {self.guidance_from} and guidance-to {self.guidance_to} were given",
                "an interval was expected",
            )

    def changed(self) -> dict[str, Any]:
        """Names and values of the fields that differ from their defaults."""
        fields = dataclasses.fields(self)
        return {f.name: getattr(self, f.name) for f in fields if getattr(self, f.name) != f.default}

    def described(self) -> dict[str, str]:
        """The changed fields in words, as a picture's file says how it was made."""
        return {name: str(value) for name, value in self.changed().items()}

    def strengths(self, rounds: int, own: PriorConfig | None = None) -> list[float]:
        """Guidance s in each round; 1 where there is none.

        Arguments:
            rounds: number of times that the prior is asked.
            own: has s and its growth where these options leave them open; None for 1.

        Example:
            >>> Sampling(guidance=3.0, guidance_schedule="linear", guidance_to=0.5).strengths(5)
            [1.0, 1.5, 2.0, 1.0, 1.0]
        """
        shares = [number / max(1, rounds - 1) for number in range(rounds)]
        strength, schedule = (own.guidance, own.guidance_schedule) if own else (1.0, "constant")
        strength = strength if self.guidance is None else self.guidance
        grown = GUIDANCE_SCHEDULES[self.guidance_schedule or schedule]
        return [
            1.0 + (strength - 1.0) * grown(share) if self.guidance_from <= share <= self.guidance_to else 1.0
            for share in shares
        ]


_RANGES = {
    "temperature": (0, math.inf),
    "top_k": (0, math.inf),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "guidance": (0, math.inf),
    "guidance_from": (0, 1),
    "guidance_to": (0, 1),
    "steps": (0, math.inf),
    "choice_temperature": (0, math.inf),
    "remask": (0, 1),
    "edit": (0, 1),
}
"""Least and largest value of each number."""

AS_LEARNED = Sampling()
"""Drawing from the prior's own distribution, with the guidance that its configuration names."""
