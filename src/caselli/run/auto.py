"""The recipe auto: every size from the minutes, the machine's rate and the pictures, by one law."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch

from caselli import ranks
from caselli.data import mirrors_are_likely
from caselli.engine import machine, rate_of
from caselli.errors import expect
from caselli.features import TEACHERS
from caselli.plain import override
from caselli.prior import NO_CONDITION
from caselli.run.pictures import Data
from caselli.run.two_stage_config import TwoStageConfig
from caselli.run.two_stage_recipes import EARLY_GUIDANCE, SHARES, small

MINUTES = 10.0
"""Budget of a run that names none."""
STAGES = ("tokenizer", "prior", "decoder")
AUTO_SHARES = SHARES["auto"]
"""Shares of the minutes that tokenizer, prior and refined decoder get."""
USE = 0.25
"""Share of the rate of matrix products that a prior's training reaches, counting 6 N operations a code.

On one core 0.12, 0.26 and 0.39 at widths of 64, 128 and 256; minutes of a core choose about 128.
"""
SAMPLES_A_WEIGHT = 20.0
"""Codes that a prior learns from for each of its weights, at the size that is best for a budget."""
LADDER = ((64, 3), (96, 3), (128, 4), (192, 5), (256, 6), (384, 8), (512, 10), (768, 14), (1024, 20))
"""Widths and depths of priors."""
TEACHER = "efficientnet-lite1"
"""Network of the perceptual term, where it is installed and pictures have colours."""
MOST_REPEATS = 40
"""Times that a prior may see a picture before it learns them by heart; the sweep is in docs/race.md."""
LARGEST = MOST_REPEATS / 2
"""Weights of a prior for each code of the pictures, at most: entries 42 to 44 of docs/race.md."""
SWEPT = 1e15
"""Operations of the largest budgets that were raced; beyond, the networks are those of published runs."""
WIDTHS = (64, 96, 128)
"""Widths of tokenizers."""
BATCH, SMALLEST, MOST_CODES = 64, 16, 32_768
"""Sequences of a prior's batch, usually and at least, and its codes at most."""
FEWEST, SLOWEST = 1600, 20_000
"""Steps of a prior below and above which its batch changes instead."""
VIEWED = 80_000
"""Varied versions of the pictures that are encoded for the prior, about, at most."""
EARLY_GUIDE = 0.125
"""Share of its training after which a prior is kept as its own guide; entries 105 to 111 of the lab book."""
TEXT = "pieces"
"""Vocabulary of captions; entries 54 to 60 of the lab book."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """The operations that a run has."""

    minutes: float
    """Wall-clock budget of the whole training."""
    rate: float
    """Operations per second of large matrix products, of all devices; see `caselli.engine.rate_of`."""

    @classmethod
    def of(cls, changes: Mapping[str, Any]) -> Budget:
        """The budget that a run's changes name; of ranks, as many times what the first one measures."""
        named = [changes.get(f"training.{stage}.minutes") for stage in STAGES]
        minutes = sum(minutes or 0 for minutes in named) or MINUTES
        rate = changes.get("rate")
        if rate is not None:
            expect(0 < rate < math.inf, "rate", rate, "a number of operations per second, more than 0,")
            return cls(minutes, rate)
        own = torch.tensor(rate_of(machine(changes.get("precision", "auto"))), dtype=torch.float64)
        return cls(minutes, ranks.from_first(own).item() * ranks.count())

    @property
    def beyond(self) -> float:
        """Operations over those of the largest budgets that were raced."""
        return 60 * self.minutes * self.rate / SWEPT

    def prior(self) -> float:
        """Operations of the prior's training."""
        return 60 * self.minutes * AUTO_SHARES[1] * self.rate * USE


def auto(data: Data, budget: Budget | None = None, text: str = TEXT, guided: bool = True) -> TwoStageConfig:
    r"""Sizes from the minutes, the machine and the pictures, and a decoder refined on what the prior draws.

    A prior of N weights that learns from D codes costs 6 N D operations C, and is best for its budget where
    D is a certain multiple r of N, so that

    .. math:: N = \sqrt{C / 6 r}

    which the nearest step of a ladder of widths and depths stands for. r comes from a sweep in docs/race.md.

    Arguments:
        data: of any kind; number, size and colours of the pictures count.
        budget: minutes and rate; ten minutes of this machine unless given.
        text: vocabulary of the captions, where there are any.
        guided: True for a prior that is its own guide, early in its training.

    Source: after Hoffmann et al. 2022, Training Compute-Optimal Large Language Models.
    """
    pictures, number = data.pictures, data.number
    budget, start = budget or Budget.of({}), small(pictures)
    codes = (pictures.size // start.tokenizer.factor) ** 2
    width, depth = shape(min(weights(budget), LARGEST * codes * number))
    start = override(start, {"prior.width": width, "prior.depth": depth, "prior.text": text})
    start = override(start, scaled(budget, start))
    if pictures.captions is not None and text == TEXT:
        start = override(start, {"prior.text_length": 24, "prior.word_dropout": 0.3})
    seen = repeats(budget, start, data)
    minutes = shared_out(budget, seen)
    sees = pictures.channels == 3 and TEACHERS[TEACHER].is_installed()
    return override(
        start,
        {
            "recipe": "auto",
            "rate": budget.rate,
            "data.flip": mirrors_are_likely(pictures),
            "data.views": min(8, math.ceil(min(seen, VIEWED / number))),
            "tokenizer.perceptual": 0.3 if sees else 0.0,
            "tokenizer.perceptual_network": TEACHER,
            "prior.dropout": 0.1 if seen > 4 else 0.0,
            "prior.layer.activation": "squared_relu",
            "prior.code_vectors": True,
            "prior.mixer_options": {"query_key_norm": "layer"},
            "training.prior.batch": batch_of(seen * number, number, codes),
        }
        | ({"training.early_guide": EARLY_GUIDE, "prior.guidance": EARLY_GUIDANCE} if guided else {})
        | {f"training.{stage}.minutes": share for stage, share in zip(STAGES, minutes, strict=True)},
    )


def shared_out(budget: Budget, seen: float) -> list[float]:
    """Minutes of each stage; what the prior has no use for, as it would learn the pictures by heart, is the
    tokenizer's.

    Arguments:
        budget: of the whole run.
        seen: times that the prior would see each picture in its usual share.

    Example:
        >>> [round(part, 2) for part in shared_out(Budget(10, 2e11), seen=80)]
        [6.0, 2.5, 1.5]
    """
    tokenizer, prior, decoder = (budget.minutes * share for share in AUTO_SHARES)
    kept = prior * min(1.0, MOST_REPEATS / seen)
    return [tokenizer + prior - kept, kept, decoder]


def scaled(budget: Budget, config: TwoStageConfig) -> dict[str, Any]:
    """Fields of the tokenizer for budgets larger than those that were raced.

    Its weights grow with the root of the operations, as the prior's do, up to the width of published ones;
    its learning rate falls as its width grows.

    Example:
        >>> scaled(Budget(minutes=24 * 60, rate=6e14), TwoStageConfig())["tokenizer.width"]
        128
        >>> scaled(Budget(minutes=45, rate=2e11), TwoStageConfig())
        {}
    """
    if budget.beyond <= 1:
        return {}
    wide = WIDTHS[0] * budget.beyond**0.25
    width = min(WIDTHS, key=lambda each: abs(math.log(each / wide)))
    times = width // WIDTHS[0]
    tokenizer = config.training.tokenizer
    return {
        "tokenizer.width": width,
        "training.tokenizer.batch": tokenizer.batch * times,
        "training.tokenizer.learning_rate": tokenizer.learning_rate * WIDTHS[0] / width,
    }


def batch_of(samples: float, pictures: int, codes: int) -> int:
    """Sequences in a step of a prior: 64, fewer where few pictures would be learnt by heart in fewer than
    1,600 steps, more where it would take more than 20,000.

    Arguments:
        samples: sequences that the budget allows.
        pictures: number of pictures.
        codes: codes of a picture.

    Example:
        >>> [batch_of(1e5, pictures, 64) for pictures in (772, 2000, 60_000)], batch_of(1e8, 1_000_000, 64)
        ([16, 32, 64], 512)
    """
    by_heart = MOST_REPEATS * pictures
    fewer = math.ceil(math.log2(FEWEST * BATCH / by_heart))
    more = round(math.log2(min(samples, by_heart) / BATCH / SLOWEST))
    largest = max(BATCH, 2 ** int(math.log2(MOST_CODES / codes)))
    return min(largest, max(SMALLEST, (BATCH << max(0, more)) >> max(0, fewer)))


def weights(budget: Budget) -> float:
    """Number of weights that a prior's budget is best spent on.

    Example:
        >>> round(weights(Budget(minutes=15, rate=4e11)) / 1e6, 1)
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


def repeats(budget: Budget, config: TwoStageConfig, data: Data) -> float:
    """Times that a prior sees each picture, and its caption where it has one, within its budget."""
    prior, codes = config.prior, (data.pictures.size // config.tokenizer.factor) ** 2
    work = _count(prior.width, prior.depth) * codes
    if data.pictures.captions is not None and prior.text != NO_CONDITION:
        work += _count(prior.width, prior.depth) * prior.text_vectors
        work += _count(prior.text_width, prior.text_depth) * (prior.text_length + prior.text_vectors)
    return budget.prior() / (6 * work * max(1, data.number))


def plan(config: TwoStageConfig, data: Data, budget: Budget) -> list[str]:
    """Lines of the log: the choices, and their reasons."""
    pictures, tokenizer, prior = data.pictures, config.tokenizer, config.prior
    side = pictures.size // tokenizer.factor
    seen = repeats(budget, config, data)
    said = f"auto: {budget.minutes:.3g} minutes at {budget.rate / 1e9:.0f} billion operations a second"
    taught = f", taught by {tokenizer.perceptual_network}" if tokenizer.perceptual else ""
    alike = "not known to be alike, so no flips"
    if config.data.flip:
        alike = "alike, so half of the pictures are mirrored"
    parts = [getattr(config.training, stage).minutes or 0 for stage in STAGES]
    usual = budget.minutes * AUTO_SHARES[1]
    shares = " : ".join(f"{100 * part / budget.minutes:.0f}" for part in parts)
    lines = [
        f"{said}, shared {shares} among tokenizer, prior and refined decoder",
        f"auto: {side}×{side} codes for {pictures.size}×{pictures.size} pixels, tokenizer of width "
        f"{tokenizer.width}{taught}; left and right are {alike}",
        f"auto: prior of width {prior.width} and depth {prior.depth}, {SAMPLES_A_WEIGHT:.0f} codes for each "
        f"weight; each of {data.number} pictures is seen {seen * parts[1] / usual:.1f} times",
    ]
    if pictures.captions is not None and prior.text == TEXT:
        lines.append(f"auto: captions are read as words and their parts, {prior.text_length} words at most")
    if seen > MOST_REPEATS and parts[1] < usual:
        lines.append(
            f"auto: a prior that sees pictures more than {MOST_REPEATS} times learns them by heart, so the "
            f"tokenizer gets {usual - parts[1]:.1f} of its minutes; more pictures, or "
            "--data.flip true where mirrored ones are likely, would serve"
        )
    return lines


def _count(width: int, depth: int) -> int:
    """Weights of the layers of a prior."""
    return 12 * depth * width**2
