"""The ailments of a tokenizer's training: how each shows, how it is told, and what helps."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod


@dataclasses.dataclass(frozen=True)
class Chart:
    """What is known of a training; None for what is not known yet or not there."""

    psnr: float
    """Recent average, in decibels."""
    best_psnr: float
    """The highest recent average so far."""
    commitment: float | None
    """Recent average of the distance from latents to their codes."""
    lowest_commitment: float
    """The lowest recent average so far."""
    score_real: float | None
    """The discriminator's score of pictures."""
    score_fake: float | None
    """The discriminator's score of reconstructions."""
    right: float | None
    """Share of places at which the picture scores above its own reconstruction."""
    doubt: float | None
    """The discriminator's loss as a share of what guessing gives."""
    adversarial: bool
    """Whether there is a discriminator."""
    use: float | None
    """Share of the codes in use."""
    perplexity: float | None
    """exp of the entropy of the codes' use."""
    codes: int
    """K, the mean over codebooks."""
    restarts: bool
    """Whether the quantizer has a codebook whose dead codes can be restarted."""
    entropy: bool
    """Whether the quantizer has an entropy term."""


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What has been prescribed so far."""

    restart: float = 0.0
    """The codebook's restart threshold, at least."""
    entropy: float = 1.0
    """Factor of the entropy term's weight."""
    adversarial: float = 1.0
    """Factor of the adversarial weight."""
    lecam: float = 0.0
    """The LeCam regulariser's weight, at least."""


class Ailment(ABC):
    """One thing that can go wrong; final classes give all of it."""

    name: str
    patience: int = 10
    """Examinations in a row that must find it before it is told, and again after five times as many."""

    @abstractmethod
    def found(self, chart: Chart) -> bool:
        """Whether the chart shows it."""

    @abstractmethod
    def words(self, chart: Chart) -> str:
        """What is wrong, in figures."""

    @abstractmethod
    def remedy(self, chart: Chart) -> str:
        """What the user can do."""

    @abstractmethod
    def treat(self, chart: Chart, treatment: Treatment) -> tuple[Treatment, str] | None:
        """A stronger treatment and what it is; None where nothing can be applied during training."""


class Collapse(Ailment):
    """Few codes carry everything."""

    name = "collapse"

    def found(self, chart: Chart) -> bool:
        return chart.use is not None and (chart.use < 0.5 or chart.perplexity < 0.05 * chart.codes)

    def words(self, chart: Chart) -> str:
        return (
            f"the codebook is collapsing: {chart.use:.0%} of its {chart.codes:,} codes are in use, "
            f"with a perplexity of {chart.perplexity:.0f}"
        )

    def remedy(self, chart: Chart) -> str:
        if chart.restarts:
            return (
                "restart dead codes (--tokenizer.quantizer_options.restart_threshold 0.1), compare codes in "
                "few dimensions (.code_width 8), or take a smaller codebook"
            )
        if chart.entropy:
            return "raise --tokenizer.quantizer_options.entropy_weight, or take fewer codes"
        return "take fewer codes, or another quantizer, such as vq with restarts"

    def treat(self, chart: Chart, treatment: Treatment) -> tuple[Treatment, str] | None:
        if chart.restarts:
            threshold = min(1.0, max(0.1, 2 * treatment.restart))
            words = f"codes used less than {threshold:g} times the average are put on latents of the batch"
            return dataclasses.replace(treatment, restart=threshold), words
        if chart.entropy:
            factor = min(16.0, 2 * treatment.entropy)
            words = f"the entropy term counts {factor:g} times as much as configured"
            return dataclasses.replace(treatment, entropy=factor), words
        return None


class Winning(Ailment):
    """The discriminator is never wrong, so its judgement teaches nothing."""

    name = "winning"

    def found(self, chart: Chart) -> bool:
        return chart.right is not None and chart.right > 0.98 and 0 < chart.doubt < 0.05

    def words(self, chart: Chart) -> str:
        return (
            f"the discriminator is winning: it ranks {chart.right:.1%} of the places rightly, scores "
            f"pictures {chart.score_real:+.2f}, reconstructions {chart.score_fake:+.2f}, and its loss is "
            f"{chart.doubt:.1%} of what guessing gives"
        )

    def remedy(self, chart: Chart) -> str:
        return (
            "hold it back with --tokenizer.adversarial.lecam 0.1 or .r1 10, lower its .learning_rate, or let "
            "the tokenizer learn longer before its .start"
        )

    def treat(self, chart: Chart, treatment: Treatment) -> tuple[Treatment, str] | None:
        weight = min(10.0, max(0.1, 3 * treatment.lecam))
        return dataclasses.replace(treatment, lecam=weight), f"the LeCam regulariser weighs {weight:g}"


class Outrun(Ailment):
    """The discriminator is no better than chance, so its judgement misleads."""

    name = "outrun"
    patience = 5

    def found(self, chart: Chart) -> bool:
        return chart.right is not None and chart.right < 0.52 and chart.score_real - chart.score_fake < 0.02

    def words(self, chart: Chart) -> str:
        return (
            f"the discriminator is outrun: it ranks {chart.right:.1%} of the places rightly, where chance "
            f"gives 50 %, and scores pictures {chart.score_real:+.2f}, "
            f"reconstructions {chart.score_fake:+.2f}"
        )

    def remedy(self, chart: Chart) -> str:
        return "raise --tokenizer.adversarial.learning_rate, lower .weight, or lower .r1 and .lecam"

    def treat(self, chart: Chart, treatment: Treatment) -> tuple[Treatment, str] | None:
        lighter = dataclasses.replace(treatment, lecam=treatment.lecam / 3)
        return _halved(lighter)


class Ruin(Ailment):
    """Pictures come back worse than before."""

    name = "ruin"
    patience = 3

    def found(self, chart: Chart) -> bool:
        return chart.psnr < chart.best_psnr - 3

    def words(self, chart: Chart) -> str:
        lost = f"the reconstruction is being lost: {chart.psnr:.1f} dB, after {chart.best_psnr:.1f} dB before"
        if self._runs_away(chart):
            times = chart.commitment / chart.lowest_commitment
            return f"{lost}, while the latents are {times:.0f} times as far from their codes as they were"
        return lost

    def remedy(self, chart: Chart) -> str:
        if self._runs_away(chart):
            return (
                "lower --training.tokenizer.learning_rate, or raise --tokenizer.quantizer_options.commitment"
            )
        if chart.adversarial and chart.right is not None:
            return "lower --tokenizer.adversarial.weight, or let it rise over a longer .ramp"
        return "lower --training.tokenizer.learning_rate, or train with --precision float32"

    def treat(self, chart: Chart, treatment: Treatment) -> tuple[Treatment, str] | None:
        if not chart.adversarial or chart.right is None:
            return None
        return _halved(treatment)

    def _runs_away(self, chart: Chart) -> bool:
        return chart.commitment is not None and chart.commitment > 10 * chart.lowest_commitment


def _halved(treatment: Treatment) -> tuple[Treatment, str]:
    factor = treatment.adversarial / 2
    words = f"the adversarial term counts {factor:g} times as much as configured"
    return dataclasses.replace(treatment, adversarial=factor), words


AILMENTS: tuple[Ailment, ...] = (Collapse(), Winning(), Outrun(), Ruin())
"""In the order in which they are looked for."""
