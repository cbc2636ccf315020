"""What goes wrong with a tokenizer's training, in a sentence, and the remedy."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import nn

from caselli import ranks
from caselli.quantizer.base import Quantizer, perplexity
from caselli.quantizer.codebook import Codebook
from caselli.quantizer.entropy import EntropyTerm
from caselli.shapes import Float, Int, Tensor
from caselli.tokenizer.ailments import AILMENTS, Chart, Treatment
from caselli.tokenizer.config import TokenizerConfig

WATCHED = ("psnr", "commitment", "score_real", "score_fake", "discriminator_right", "discriminator_doubt")
"""Figures whose averages are kept."""
DECAY = 0.98
"""Of the averages."""
LARGEST = 1 << 20
"""Codes, over all codebooks, whose use is followed; beyond, keeping the counts would cost too much."""
WINDOW = 20
"""The use of codes is an average over so many codes for each entry of the codebook."""
SCARCE = 0.02
"""A code that is used less than this share of an equal share counts as dead."""
SILENCE = 5
"""An ailment is told again after so many times its patience."""


class Doctor(nn.Module):
    """Follows live figures, and says in a plain sentence what goes wrong and what helps.

    `note` takes each step's figures into averages over all ranks; `advise`, asked every ten steps, looks for
    the ailments of `caselli.tokenizer.ailments` in them. What it does follows from its own state alone, which
    is in checkpoints: a resumed run gets the same advice.

    Arguments:
        config: the tokenizer's; `config.doctor` is off, watch or apply.
        quantizer: whose codes are followed, and treated where remedies are applied.
    """

    def __init__(self, config: TokenizerConfig, quantizer: Quantizer) -> None:
        super().__init__()
        self.config, self.mode = config, config.doctor
        self.sizes = quantizer.sizes if sum(quantizer.sizes) <= LARGEST else ()
        self.patients = [_Patient.of(module) for module in quantizer.modules() if _Patient.suits(module)]
        self.register_buffer("averages", torch.zeros(len(WATCHED)))
        self.register_buffer("noted", torch.zeros(len(WATCHED)))
        self.register_buffer("use", torch.zeros(sum(self.sizes)))
        self.register_buffer("use_known", torch.zeros(()))
        self.treatment = Treatment()
        self.best_psnr, self.lowest_commitment = -math.inf, math.inf
        self.since, self.told = [0] * len(AILMENTS), [-SILENCE * ailment.patience for ailment in AILMENTS]
        self.examinations = 0

    # every step ---------------------------------------------------------------------------------------------

    def administer(self) -> None:
        """Gives the quantizer what was prescribed; to be called before it is used."""
        for patient in self.patients:
            patient.treat(self.treatment)

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
        self.examinations += 1
        chart = self._chart()
        self.best_psnr = max(self.best_psnr, chart.psnr)
        if chart.commitment is not None:
            self.lowest_commitment = min(self.lowest_commitment, chart.commitment)
        sentences = []
        for number, ailment in enumerate(AILMENTS):
            self.since[number] = self.since[number] + 1 if ailment.found(chart) else 0
            silent = self.examinations - self.told[number]
            if self.since[number] >= ailment.patience and silent >= SILENCE * ailment.patience:
                self.told[number] = self.examinations
                sentences.append(self._sentence(ailment, chart))
                if self.mode == "apply" and ailment.name == "ruin":
                    self.best_psnr = chart.psnr  # what was lost is lost; watch what comes
        return sentences

    def _sentence(self, ailment, chart: Chart) -> str:
        if self.mode == "apply" and (treated := ailment.treat(chart, self.treatment)) is not None:
            self.treatment, applied = treated
            return f"{ailment.words(chart)}. Applied: {applied}"
        return f"{ailment.words(chart)}. Remedy: {ailment.remedy(chart)}"

    def _chart(self) -> Chart:
        values, noted = self.averages.tolist(), self.noted.tolist()
        known = {n: v if k else None for n, v, k in zip(WATCHED, values, noted, strict=True)}
        use = self.figures() if self.sizes and self.use_known.item() > 0.9 else {}
        return Chart(
            psnr=known["psnr"] if known["psnr"] is not None else -math.inf,
            best_psnr=self.best_psnr,
            commitment=known["commitment"],
            lowest_commitment=self.lowest_commitment,
            score_real=known["score_real"],
            score_fake=known["score_fake"],
            right=known["discriminator_right"],
            doubt=known["discriminator_doubt"],
            adversarial=bool(self.config.adversarial.weight),
            use=use["codebook_use"].item() if use else None,
            perplexity=use["live_perplexity"].item() if use else None,
            codes=round(sum(self.sizes) / max(1, len(self.sizes))),
            restarts=any(isinstance(p.module, Codebook) for p in self.patients),
            entropy=any(p.entropy is not None for p in self.patients),
        )

    def _note_codes(self, codes: Tensor) -> None:
        offsets = codes.new_tensor([sum(self.sizes[:i]) for i in range(len(self.sizes))])
        flat = (codes.movedim(1, -1) + offsets).flatten() if len(self.sizes) > 1 else codes.flatten()
        found = torch.zeros_like(self.use).index_add_(0, flat, self.use.new_ones(()).expand(len(flat)))
        found = ranks.total(found) * len(self.sizes)
        number = found.sum()  # codes of this step, as many for each codebook
        share = (number / (WINDOW * sum(self.sizes))).clamp(max=1.0)
        self.use.lerp_(found / number, share)
        self.use_known.lerp_(torch.ones_like(self.use_known), share)

    def _shares(self) -> list[Float[Tensor, "K"]]:
        parts = self.use.split(self.sizes)
        return [part / part.sum().clamp_min(1e-12) for part in parts]

    # checkpoints --------------------------------------------------------------------------------------------

    def get_extra_state(self) -> Tensor:
        """What is kept beside the buffers, as one row of numbers."""
        numbers = [
            *dataclasses.astuple(self.treatment),
            self.best_psnr,
            self.lowest_commitment,
            self.examinations,
        ]
        return torch.tensor([*numbers, *self.since, *self.told], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Takes up what `get_extra_state` gave."""
        numbers, count = state.tolist(), len(AILMENTS)
        fields = len(dataclasses.fields(Treatment))
        self.treatment = Treatment(*numbers[:fields])
        self.best_psnr, self.lowest_commitment = numbers[fields : fields + 2]
        self.examinations = int(numbers[fields + 2])
        self.since = [int(n) for n in numbers[-2 * count : -count]]
        self.told = [int(n) for n in numbers[-count:]]


@dataclasses.dataclass
class _Patient:
    """A module of the quantizer that can be treated, and how it was before."""

    module: nn.Module
    restart: float
    entropy: EntropyTerm | None

    @staticmethod
    def suits(module: nn.Module) -> bool:
        return isinstance(module, Codebook) or isinstance(getattr(module, "entropy_term", None), EntropyTerm)

    @classmethod
    def of(cls, module: nn.Module) -> _Patient:
        return cls(module, getattr(module, "restart_threshold", 0.0), getattr(module, "entropy_term", None))

    def treat(self, treatment: Treatment) -> None:
        if isinstance(self.module, Codebook):
            self.module.restart_threshold = max(self.restart, treatment.restart)
        elif treatment.entropy != 1:
            weight = self.entropy.weight * treatment.entropy
            self.module.entropy_term = dataclasses.replace(self.entropy, weight=weight)
