"""Ways in which a tokenizer's training fails: how each shows, its sentence, its remedy."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod


@dataclasses.dataclass(frozen=True)
class Measurements:
    """State of a training; None for a figure that is not known yet, or not there."""

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
    """True where there is a discriminator."""
    use: float | None
    """Share of the codes in use."""
    perplexity: float | None
    """exp of the entropy of the codes' use."""
    codes: int
    """K, the mean over codebooks."""
    restarts: bool
    """True for a quantizer with a codebook whose dead codes can be restarted."""
    entropy: bool
    """True for a quantizer with an entropy term."""


@dataclasses.dataclass(frozen=True)
class Corrections:
    """Changes to the configured training that have been applied so far."""

    restart: float = 0.0
    """The codebook's restart threshold, at least."""
    entropy: float = 1.0
    """Factor of the entropy term's weight."""
    adversarial: float = 1.0
    """Factor of the adversarial weight."""
    lecam: float = 0.0
    """The LeCam regulariser's weight, at least."""


UNCORRECTED = Corrections()


class Failure(ABC):
    """One way in which training fails; final classes give all of it."""

    name: str
    patience: int = 10
    """Examinations in a row that must find it before it is reported, and again after five times as many."""

    @abstractmethod
    def found(self, measured: Measurements) -> bool:
        """True where the measurements show it."""

    @abstractmethod
    def words(self, measured: Measurements) -> str:
        """A sentence on the failure, with figures."""

    @abstractmethod
    def remedy(self, measured: Measurements) -> str:
        """A sentence on what the user can do."""

    @abstractmethod
    def correct(self, measured: Measurements, corrections: Corrections) -> tuple[Corrections, str] | None:
        """Stronger corrections and a sentence on them; None where nothing can be applied during training."""


class CodebookCollapse(Failure):
    """Few codes carry everything."""

    name = "collapse"

    def found(self, measured: Measurements) -> bool:
        return measured.use is not None and (
            measured.use < 0.5 or measured.perplexity < 0.05 * measured.codes
        )

    def words(self, measured: Measurements) -> str:
        return (
            f"the codebook is collapsing: {measured.use:.0%} of its {measured.codes:,} codes are in use, "
            f"with a perplexity of {measured.perplexity:.0f}"
        )

    def remedy(self, measured: Measurements) -> str:
        if measured.restarts:
            return (
                "restart dead codes (--tokenizer.quantizer_options.restart_threshold 0.1), compare codes in "
                "few dimensions (.code_width 8), or take a smaller codebook"
            )
        if measured.entropy:
            return "raise --tokenizer.quantizer_options.entropy_weight, or take fewer codes"
        return "take fewer codes, or another quantizer, such as vq with restarts"

    def correct(self, measured: Measurements, corrections: Corrections) -> tuple[Corrections, str] | None:
        if measured.restarts:
            threshold = min(1.0, max(0.1, 2 * corrections.restart))
            words = f"codes used less than {threshold:g} times the average are put on latents of the batch"
            return dataclasses.replace(corrections, restart=threshold), words
        if measured.entropy:
            factor = min(16.0, 2 * corrections.entropy)
            words = f"the entropy term counts {factor:g} times as much as configured"
            return dataclasses.replace(corrections, entropy=factor), words
        return None


class DiscriminatorWinning(Failure):
    """The discriminator is never wrong, so its judgement teaches nothing."""

    name = "winning"

    def found(self, measured: Measurements) -> bool:
        return measured.right is not None and measured.right > 0.98 and 0 < measured.doubt < 0.05

    def words(self, measured: Measurements) -> str:
        return (
            f"the discriminator is winning: it ranks {measured.right:.1%} of the places rightly, scores "
            f"pictures {measured.score_real:+.2f}, reconstructions {measured.score_fake:+.2f}, "
            f"and its loss is {measured.doubt:.1%} of what guessing gives"
        )

    def remedy(self, measured: Measurements) -> str:
        return (
            "hold it back with --tokenizer.adversarial.lecam 0.1 or .r1 10, lower its .learning_rate, or let "
            "the tokenizer learn longer before its .start"
        )

    def correct(self, measured: Measurements, corrections: Corrections) -> tuple[Corrections, str] | None:
        weight = min(10.0, max(0.1, 3 * corrections.lecam))
        return dataclasses.replace(corrections, lecam=weight), f"the LeCam regulariser weighs {weight:g}"


class DiscriminatorOutrun(Failure):
    """The discriminator is no better than chance, so its judgement misleads."""

    name = "outrun"
    patience = 5

    def found(self, measured: Measurements) -> bool:
        return (
            measured.right is not None
            and measured.right < 0.52
            and measured.score_real - measured.score_fake < 0.02
        )

    def words(self, measured: Measurements) -> str:
        return (
            f"the discriminator is outrun: it ranks {measured.right:.1%} of the places rightly, where chance "
            f"gives 50 %, and scores pictures {measured.score_real:+.2f}, "
            f"reconstructions {measured.score_fake:+.2f}"
        )

    def remedy(self, measured: Measurements) -> str:
        return "raise --tokenizer.adversarial.learning_rate, lower .weight, or lower .r1 and .lecam"

    def correct(self, measured: Measurements, corrections: Corrections) -> tuple[Corrections, str] | None:
        lighter = dataclasses.replace(corrections, lecam=corrections.lecam / 3)
        return _halved(lighter)


class ReconstructionLost(Failure):
    """Pictures come back worse than before."""

    name = "ruin"
    patience = 3

    def found(self, measured: Measurements) -> bool:
        return measured.psnr < measured.best_psnr - 3

    def words(self, measured: Measurements) -> str:
        before = f"{measured.best_psnr:.1f} dB before"
        lost = f"the reconstruction is being lost: {measured.psnr:.1f} dB, after {before}"
        if self._runs_away(measured):
            times = measured.commitment / measured.lowest_commitment
            return f"{lost}, while the latents are {times:.0f} times as far from their codes as they were"
        return lost

    def remedy(self, measured: Measurements) -> str:
        if self._runs_away(measured):
            return (
                "lower --training.tokenizer.learning_rate, or raise --tokenizer.quantizer_options.commitment"
            )
        if measured.adversarial and measured.right is not None:
            return "lower --tokenizer.adversarial.weight, or let it rise over a longer .ramp"
        return "lower --training.tokenizer.learning_rate, or train with --precision float32"

    def correct(self, measured: Measurements, corrections: Corrections) -> tuple[Corrections, str] | None:
        if not measured.adversarial or measured.right is None:
            return None
        return _halved(corrections)

    def _runs_away(self, measured: Measurements) -> bool:
        return measured.commitment is not None and measured.commitment > 10 * measured.lowest_commitment


def _halved(corrections: Corrections) -> tuple[Corrections, str]:
    factor = corrections.adversarial / 2
    words = f"the adversarial term counts {factor:g} times as much as configured"
    return dataclasses.replace(corrections, adversarial=factor), words


FAILURES: tuple[Failure, ...] = (
    CodebookCollapse(),
    DiscriminatorWinning(),
    DiscriminatorOutrun(),
    ReconstructionLost(),
)
"""In the order in which they are looked for."""
