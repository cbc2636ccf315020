"""The recipe auto: every size from the minutes, the machine's rate and the pictures, by one law."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch

from caselli import ranks
from caselli.data import Pictures, mirrors_are_likely
from caselli.engine import TrainingConfig, machine, rate_of
from caselli.features import TEACHERS
from caselli.prior import PriorConfig
from caselli.run.config import DataConfig
from caselli.run.two_stage_config import StagesConfig, TwoStageConfig
from caselli.run.two_stage_recipes import SHARES, nearest_factor
from caselli.tokenizer import TokenizerConfig

MINUTES = 10.0
"""Budget of a run that names none."""
AUTO_SHARES = SHARES["auto"]
"""Shares of the minutes that tokenizer, prior and refined decoder get."""
USE = 0.45
"""Share of the rate of matrix products that a prior's training reaches."""
SAMPLES_A_WEIGHT = 20.0
"""Codes that a prior learns from for each of its weights, at the size that is best for a budget."""
LADDER = ((64, 3), (96, 3), (128, 4), (192, 5), (256, 6), (384, 8), (512, 10), (768, 14), (1024, 20))
"""Widths and depths of priors."""
TEACHER = "efficientnet-lite1"
"""Network of the perceptual term, where it is installed and pictures have colours."""
VIEWED = 80_000
"""Varied versions of the pictures that are encoded for the prior, about, at most."""
MOST_REPEATS = 100
"""Times that a picture may be seen before more of the same serves little."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """The operations that a run has."""

    minutes: float
    """Wall-clock budget of the whole training."""
    rate: float
    """Operations per second of large matrix products; see `caselli.engine.rate_of`."""

    @classmethod
    def of(cls, changes: Mapping[str, Any]) -> Budget:
        """The budget that a run's changes name, on this machine; all ranks take the first one's rate."""
        named = [changes.get(f"training.{stage}.minutes") for stage in ("tokenizer", "prior", "decoder")]
        rate = torch.tensor(rate_of(machine(changes.get("precision", "auto"))), dtype=torch.float64)
        return cls(sum(minutes or 0 for minutes in named) or MINUTES, ranks.from_first(rate).item())

    def prior(self) -> float:
        """Operations of the prior's training."""
        return 60 * self.minutes * AUTO_SHARES[1] * self.rate * USE


def auto(pictures: Pictures, budget: Budget | None = None) -> TwoStageConfig:
    r"""Sizes from the minutes, the machine and the pictures, and a decoder refined on what the prior draws.

    A prior of N weights that learns from D codes costs 6 N D operations C, and is best for its budget where
    D is a certain multiple r of N, so that

    .. math:: N = \sqrt{C / 6 r}

    which the nearest step of a ladder of widths and depths stands for. r comes from a sweep in docs/race.md.

    Arguments:
        pictures: of any kind; their number, size and colours count.
        budget: minutes and rate; ten minutes of this machine unless given.

    Source: after Hoffmann et al. 2022, Training Compute-Optimal Large Language Models.
    """
    budget = budget or Budget.of({})
    factor = nearest_factor(pictures.size, grid=8, largest=16)
    width, depth = shape(weights(budget))
    codes = (pictures.size // factor) ** 2
    seen = repeats(budget, width, depth, codes, len(pictures))
    sees = pictures.channels == 3 and TEACHERS[TEACHER].is_installed()
    minutes = [budget.minutes * share for share in AUTO_SHARES]
    return TwoStageConfig(
        recipe="auto",
        data=DataConfig(
            flip=mirrors_are_likely(pictures),
            shift=max(1, pictures.size // 32),
            views=min(8, math.ceil(min(seen, VIEWED / len(pictures)))),
        ),
        tokenizer=TokenizerConfig(
            factor=factor,
            patch=min(2, factor),
            channels=pictures.channels,
            width=64,
            multipliers=(1, 2, 2),
            blocks=1,
            attention=(factor,),
            latent_width=64,
            perceptual=0.3 if sees else 0.0,
            perceptual_network=TEACHER,
        ),
        prior=PriorConfig(width=width, depth=depth, dropout=0.1 if seen > 4 else 0.0, guidance=1.5),
        training=StagesConfig(
            tokenizer=TrainingConfig(steps=5000, minutes=minutes[0], batch=32, learning_rate=1e-3, ema=0.995),
            prior=TrainingConfig(
                steps=5000,
                minutes=minutes[1],
                batch=64,
                optimiser="muon",
                learning_rate=5e-3,
                weight_decay=0.1,
                ema=0.99,
            ),
            decoder=dataclasses.replace(StagesConfig().decoder, minutes=minutes[2]),
        ),
    )


def weights(budget: Budget) -> float:
    """Number of weights that a prior's budget is best spent on.

    Example:
        >>> round(weights(Budget(minutes=15, rate=2e11)) / 1e6, 1)
        0.6
    """
    return math.sqrt(budget.prior() / (6 * SAMPLES_A_WEIGHT))


def shape(count: float) -> tuple[int, int]:
    """Width and depth of the prior that comes nearest to a number of weights, in ratio.

    Example:
        >>> shape(1e6), shape(1e8)
        ((128, 4), (768, 14))
    """
    return min(LADDER, key=lambda step: abs(math.log(_count(*step) / count)))


def repeats(budget: Budget, width: int, depth: int, codes: int, pictures: int) -> float:
    """Times that a prior sees each picture within its budget."""
    return budget.prior() / (6 * _count(width, depth) * codes * max(1, pictures))


def plan(config: TwoStageConfig, pictures: Pictures, budget: Budget) -> list[str]:
    """Lines of the log: the choices, and their reasons."""
    tokenizer, prior = config.tokenizer, config.prior
    side = pictures.size // tokenizer.factor
    seen = repeats(budget, prior.width, prior.depth, side**2, len(pictures))
    said = f"auto: {budget.minutes:.3g} minutes at {budget.rate / 1e9:.0f} billion operations a second"
    taught = f", taught by {tokenizer.perceptual_network}" if tokenizer.perceptual else ""
    alike = "alike, so half of the pictures are mirrored" if config.data.flip else "not alike, so no flips"
    lines = [
        f"{said}, shared {' : '.join(f'{100 * share:.0f}' for share in AUTO_SHARES)} among tokenizer, prior "
        "and refined decoder",
        f"auto: {side}×{side} codes for {pictures.size}×{pictures.size} pixels, tokenizer of width "
        f"{tokenizer.width}{taught}; left and right are {alike}",
        f"auto: prior of width {prior.width} and depth {prior.depth}, {SAMPLES_A_WEIGHT:.0f} codes for each "
        f"weight; each of {len(pictures)} pictures is seen {seen:.1f} times",
    ]
    if seen > MOST_REPEATS:
        lines.append(
            f"auto: pictures are seen more than {MOST_REPEATS} times; fewer minutes, more pictures "
            "or --data.flip true where mirrored pictures are likely would serve"
        )
    return lines


def _count(width: int, depth: int) -> int:
    """Weights of the layers of a prior."""
    return 12 * depth * width**2
