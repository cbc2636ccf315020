"""`caselli compare bits`: how many bits a set of pictures wants its tokenizer to spend, at equal minutes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from caselli.compare.base import free, kept, panels
from caselli.compare.judged import FIRST, NOT_LOOKED_AT, JudgedComparison, JudgedSettings
from caselli.compare.pictures import labels_for, pixels
from caselli.engine import on_device
from caselli.errors import UserError, lookup
from caselli.evaluate import evaluate_model, frechet_between, refuse_teacher
from caselli.figures import figure
from caselli.model import Model, load
from caselli.prior import HEADS
from caselli.report import PALETTE, dress
from caselli.run import RECIPES, TwoStage, train
from caselli.shapes import Float, Tensor

MOST_SOFTMAX = 16
"""Bits of a code up to which a softmax over all codes is trained too."""


@dataclasses.dataclass(frozen=True)
class Settings(JudgedSettings):
    """Pictures and budget of every point."""

    bits: tuple[int, ...] = free((4, 7, 10, 14, 18, 24, 32))
    """Bits of a code, log₂ K, with commas between."""
    heads: tuple[str, ...] = free(("bits", "softmax"))
    """Heads of the prior with commas between; softmax is left out above 16 bits."""
    quantizer: str = "bsq"
    """Quantizer whose codes are bits: bsq or lfq."""
    minutes: float | None = None
    """Minutes of training of each point, both stages; 10 by default."""
    steps: int | None = None
    """Training steps of each stage, instead of minutes."""
    recipe: str = "auto"
    """Recipe that gives tokenizer and prior."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One size of the codes with one head, on held-out pictures."""

    point: str = figure("bits a code, head")
    bits: float = figure("bits", ",.0f")
    """Bits of a picture's codes when nothing is known of them."""
    prior_bits: float = figure("prior's bits", ",.1f")
    """Bits of a picture's codes by the prior."""
    psnr: float = figure("PSNR (dB)", ".2f")
    distance: float = figure("perceptual distance", ".4f")
    reconstruction: float = figure("Fréchet distance, reconstructions", ".1f")
    samples: float = figure("Fréchet distance, samples", ".1f")
    use: float | None = figure("codes that occur", ".1%")
    head: str
    """Name in `caselli.prior.HEADS`."""
    shown: Float[Tensor, "B C H W"] | None = kept()


class Bits(JudgedComparison):
    """Codes of more and more bits at equal minutes: reconstruction, the prior's bits, quality of samples.

    The run of each point stays in `runs/NAME`; a training that was killed resumes at its last checkpoint.
    Distances between sets are by a network of features that trained none of them.

    Arguments:
        settings: a record of `Settings`.
        changes: fields of the runs by dotted name, the same for all.

    Source: Yu et al. 2026, Autoregressive Image Generation with Masked Bit Modeling, for the axis.
    """

    Settings, Row = Settings, Row
    minutes = 10.0

    def subjects(self) -> dict[str, tuple[int, str]]:
        asked = self.settings
        self.check_budget()
        if asked.quantizer not in ("bsq", "lfq"):
            raise UserError(f"quantizer {asked.quantizer!r} was given", "bsq or lfq was expected")
        if lookup(RECIPES, "recipe", asked.recipe).kind is not TwoStage:
            raise UserError(f"recipe {asked.recipe!r} was given", "one of two stages was expected")
        for head in asked.heads:
            lookup(HEADS, "head", head)
        found = {
            f"{bits} {head.replace('_', ' ')}": (bits, head)
            for bits in asked.bits
            for head in asked.heads
            if bits <= MOST_SOFTMAX or head != "softmax"
        }
        if not found:
            raise UserError(
                f"bits {', '.join(map(str, asked.bits))} were given for {', '.join(asked.heads)}",
                f"softmax goes to {MOST_SOFTMAX} bits",
                "add --heads bits",
            )
        return found

    def rows(self, subjects: Mapping[str, tuple[int, str]], folder: Path) -> Iterator[Row]:
        real = self.features(pixels(self.held_out))
        for name, (bits, head) in subjects.items():
            run = folder / "runs" / name.replace(" ", "_")
            self._train(run, bits, head)
            yield self._row(on_device(load(run)), name, head, real)

    def _train(self, run: Path, bits: int, head: str) -> None:
        asked = self.settings
        changes = {
            "tokenizer.quantizer": asked.quantizer,
            "tokenizer.quantizer_options": {"codebook_size": 1 << bits},
            "prior.head": head,
        }
        train(
            asked.source,
            run,
            recipe=asked.recipe,
            size=asked.size,
            resume=True,
            **self.budget,
            changes={"seed": asked.seed, **NOT_LOOKED_AT, **self.changes, **changes},
        )

    def _row(self, model: Model, name: str, head: str, real: Float[Tensor, "n F"]) -> Row:
        refuse_teacher(self.judges, model.teachers())
        found, x = evaluate_model(model, self.held_out), pixels(self.held_out)
        engine, shown = model.engine()[0], len(self.original())
        made = model.sample_like(self.held_out, seed=FIRST)
        again = torch.cat([model.reconstruct(part.to(model.device)).cpu() for part in x.split(64)])
        return Row(
            point=name,
            bits=found.bits_per_picture,
            prior_bits=found.prior_bits_per_picture,
            psnr=found.psnr,
            distance=found.perceptual,
            reconstruction=frechet_between(real, self.features(again)),
            samples=frechet_between(real, self.features(made.cpu())),
            use=found.codebook_use,
            head=head,
            shown=model.sample(shown, labels_for(model, shown), 0, engine=engine).cpu(),
        )

    def notes(self, rows: Sequence[Row]) -> str:
        asked, best = self.settings, min(rows, key=lambda row: row.samples)
        budget = f"{self.budget_words}{' a stage' if asked.steps else ''}"
        return (
            f"The {asked.recipe} recipe on {asked.source} with {asked.quantizer}, {budget} for each point, "
            f"seed {asked.seed}. Fréchet distances are those of {len(self.held_out)} pictures to as many "
            f"held-out ones, by {self.judge.features_name}. The samples nearest to them are those of "
            f"{best.point}: {best.bits:,.0f} bits a picture."
        )

    def plot(self, rows: Sequence[Row]) -> Any:
        from matplotlib.ticker import FuncFormatter  # loads slowly

        titles = {
            "samples": "Fréchet distance of samples",
            "reconstruction": "Fréchet distance of reconstructions",
            "prior_bits": "bits a picture by the prior",
        }
        drawing, (line,) = panels(4.8 * len(titles), 4.0, columns=len(titles))
        for axes, (field, title) in zip(line, titles.items(), strict=True):
            for number, head in enumerate(dict.fromkeys(row.head for row in rows)):
                own = sorted((row.bits, getattr(row, field)) for row in rows if row.head == head)
                axes.plot(*zip(*own, strict=True), "o-", color=PALETTE[number], label=head.replace("_", " "))
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.legend(frameon=False)
            dress(axes, title, "bits a picture of the codes")
        return drawing
