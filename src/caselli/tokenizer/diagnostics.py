"""Diagnostics of a tokenizer's training: sentences on what fails, with the remedy."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import nn

from caselli import ranks
from caselli.plain import of_plain, to_plain
from caselli.quantizer.base import Quantizer, perplexity
from caselli.shapes import Float, Int, Tensor
from caselli.tokenizer.config import TokenizerConfig
from caselli.tokenizer.failures import FAILURES, UNCORRECTED, Corrections, Failure, Measurements

WATCHED = ("psnr", "commitment", "score_real", "score_fake", "discriminator_right", "discriminator_doubt")
"""Figures whose averages are kept."""
DECAY = 0.98
"""Decay of the averages."""
LARGEST = 1 << 20
"""Codes, over all codebooks, whose use is followed; beyond, keeping the counts would cost too much."""
WINDOW = 20
"""The use of codes is an average over so many codes for each entry of the codebook."""
SCARCE = 0.02
"""A code that is used less than this share of an equal share counts as dead."""
SILENCE = 5
"""A failure is reported again after so many times its patience."""


@dataclasses.dataclass(frozen=True)
class State:
    """Memory of diagnostics from examination to examination, beside the averages."""

    corrections: Corrections = UNCORRECTED
    best_psnr: float = -math.inf
    """The highest average so far, in decibels."""
    lowest_commitment: float = math.inf
    """The lowest average so far."""
    examinations: int = 0
    """Number of examinations so far."""
    since: dict[str, int] = dataclasses.field(default_factory=dict)
    """Failure → number of examinations in a row that found it."""
    reported: dict[str, int] = dataclasses.field(default_factory=dict)
    """Failure → the examination at which it was last reported."""


class Diagnostics(nn.Module):
    """Follows live figures, and says in a plain sentence what fails and what helps.

    `note` takes each step's figures into averages over all ranks; `advise`, called every ten steps, looks for
    the failures of `caselli.tokenizer.failures` in them. The advice follows from the state alone, which is in
    checkpoints: a resumed run gets the same advice.

    Arguments:
        config: the tokenizer's; `config.diagnostics` is off, watch or apply.
        quantizer: whose codes are followed, and corrected where remedies are applied.
    """

    def __init__(self, config: TokenizerConfig, quantizer: Quantizer) -> None:
        super().__init__()
        self.config, self.mode = config, config.diagnostics
        self.sizes = quantizer.sizes if sum(quantizer.sizes) <= LARGEST else ()
        self.adjustable = quantizer.adjustable()
        self.restarts, self.entropic = (bool(quantizer.adjustable(way)) for way in ("restart", "entropy"))
        self.register_buffer("averages", torch.zeros(len(WATCHED)))
        self.register_buffer("noted", torch.zeros(len(WATCHED)))
        self.register_buffer("use", torch.zeros(sum(self.sizes)))
        self.register_buffer("use_known", torch.zeros(()))
        self.state = State()

    # every step ---------------------------------------------------------------------------------------------

    def correct(self) -> None:
        """Applies the corrections to the quantizer; to be called before it is used."""
        for part in self.adjustable:
            part.adjust(self.state.corrections.restart, self.state.corrections.entropy)

    @torch.no_grad()
    def note(self, figures: dict[str, Tensor], codes: Int[Tensor, "B ..."]) -> None:
        """Takes a training step's figures and codes into the averages."""
        if self.mode == "off":
            return
        present = self.averages.new_tensor([float(name in figures) for name in WATCHED])
        zero = self.averages.new_zeros(())
        values = torch.stack([figures.get(name, zero).to(zero) for name in WATCHED])
        keep = ((1 + self.noted) / (10 + self.noted)).clamp(max=DECAY) * (self.noted > 0)
        new = torch.lerp(ranks.mean(values), self.averages, keep)
        self.averages.copy_(torch.where(present > 0, new, self.averages))
        self.noted += present
        if self.sizes:
            self._note_codes(codes)

    def figures(self) -> dict[str, Tensor]:
        """Live figures of the codes' use; none where it is not followed."""
        if self.mode == "off" or not self.sizes:
            return {}
        shares = self._shares()
        alive = torch.cat([share * len(share) >= SCARCE for share in shares]).float().mean()
        spread = torch.stack([perplexity(share) for share in shares]).mean()
        return {"codebook_use": alive, "dead": 1 - alive, "live_perplexity": spread}

    # now and then -------------------------------------------------------------------------------------------

    def advise(self) -> list[str]:
        """Sentences on what has gone wrong for long enough; remedies begin where they are to be applied."""
        if self.mode == "off":
            return []
        measured = self._measured()
        self.state = dataclasses.replace(
            self.state,
            best_psnr=measured.best_psnr,
            lowest_commitment=measured.lowest_commitment,
            examinations=self.state.examinations + 1,
            since={f.name: self.state.since.get(f.name, 0) + 1 for f in FAILURES if f.found(measured)},
        )
        return [self._reported(failure, measured) for failure in FAILURES if self._is_due(failure)]

    def _is_due(self, failure: Failure) -> bool:
        """True for a failure that lasts, and was not reported a short while ago."""
        silence = SILENCE * failure.patience
        silent = self.state.examinations - self.state.reported.get(failure.name, -silence)
        return self.state.since.get(failure.name, 0) >= failure.patience and silent >= silence

    def _reported(self, failure: Failure, measured: Measurements) -> str:
        """A sentence on a failure and its remedy, which is applied where remedies are."""
        state = self.state
        advice = f"Remedy: {failure.remedy(measured)}"
        if self.mode == "apply":
            corrected = failure.correct(measured, state.corrections)
            if corrected is not None:
                state = dataclasses.replace(state, corrections=corrected[0])
                advice = f"Applied: {corrected[1]}"
            if failure.name == "ruin":  # what was lost is lost; watch what comes
                state = dataclasses.replace(state, best_psnr=measured.psnr)
        reported = {**state.reported, failure.name: state.examinations}
        self.state = dataclasses.replace(state, reported=reported)
        return f"{failure.words(measured)}. {advice}"

    def _measured(self) -> Measurements:
        values, noted = self.averages.tolist(), self.noted.tolist()
        known = {n: v if k else None for n, v, k in zip(WATCHED, values, noted, strict=True)}
        psnr = -math.inf if known["psnr"] is None else known["psnr"]
        commitment, lowest = known["commitment"], self.state.lowest_commitment
        use = self.figures() if self.sizes and self.use_known.item() > 0.9 else {}
        return Measurements(
            psnr=psnr,
            best_psnr=max(self.state.best_psnr, psnr),
            commitment=commitment,
            lowest_commitment=lowest if commitment is None else min(lowest, commitment),
            score_real=known["score_real"],
            score_fake=known["score_fake"],
            right=known["discriminator_right"],
            doubt=known["discriminator_doubt"],
            adversarial=bool(self.config.adversarial.weight),
            use=use["codebook_use"].item() if use else None,
            perplexity=use["live_perplexity"].item() if use else None,
            codes=round(sum(self.sizes) / max(1, len(self.sizes))),
            restarts=self.restarts,
            entropy=self.entropic,
        )

    def _note_codes(self, codes: Tensor) -> None:
        offsets = codes.new_tensor([sum(self.sizes[:i]) for i in range(len(self.sizes))])
        flat = (codes.movedim(1, -1) + offsets).flatten() if len(self.sizes) > 1 else codes.flatten()
        found = torch.zeros_like(self.use).index_add_(0, flat, self.use.new_ones(()).expand(len(flat)))
        found = ranks.total(found)
        number = found.sum()  # codes of this step, as many for each codebook
        share = (number / (WINDOW * sum(self.sizes))).clamp(max=1.0)
        self.use.lerp_(found / number, share)
        self.use_known.lerp_(torch.ones_like(self.use_known), share)

    def _shares(self) -> list[Float[Tensor, "K"]]:
        parts = self.use.split(self.sizes)
        return [part / part.sum().clamp_min(1e-12) for part in parts]

    # checkpoints --------------------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        """The state, by name; the averages are buffers."""
        return to_plain(self.state)

    def set_extra_state(self, state: dict[str, Any] | Tensor) -> None:
        """Takes up what `get_extra_state` gave, or the row of numbers of earlier versions."""
        self.state = _of_row(state) if isinstance(state, Tensor) else of_plain(State, state)


_ROW = ("collapse", "winning", "outrun", "ruin")
"""Failures in the order of the rows that earlier versions wrote."""


def _of_row(row: Tensor) -> State:
    """Four corrections, two extremes, the count of examinations, `since` and `reported` of four failures."""
    restart, entropy, adversarial, lecam, psnr, commitment, examinations, *numbers = row.tolist()
    since, reported = (dict(zip(_ROW, map(int, part), strict=True)) for part in (numbers[:4], numbers[4:]))
    corrections = Corrections(restart, entropy, adversarial, lecam)
    return State(corrections, psnr, commitment, int(examinations), since, reported)
