"""`caselli compare quantizers`: the same backbone, pictures and budget for each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from caselli.compare.base import TrainingSettings, chosen, free, kept
from caselli.compare.judged import NOT_LOOKED_AT
from caselli.compare.pictures import pixels, some
from caselli.compare.rate import rate_distortion
from caselli.compare.training import TrainingComparison
from caselli.data import Pictures
from caselli.engine import on_device, read_log
from caselli.errors import UserError, lookup
from caselli.evaluate import (
    CodebookUse,
    Distance,
    evaluate_model,
    name_of,
    perceptual_distance,
    reconstructions,
)
from caselli.figures import figure
from caselli.layer import count_parameters
from caselli.model import Model, load
from caselli.quantizer import QUANTIZERS
from caselli.run import RECIPES, TwoStage, train
from caselli.shapes import Float, Tensor

FLOAT_BITS = 32
"""Bits counted for a number of a continuous bottleneck."""
MEASURED, SHOWN = 4096, 10
"""Pictures of either split that are measured, and held-out ones that are shown, at most."""
MOST_CODES = 512
"""Codes of a picture up to which a prior is trained over them."""


@dataclasses.dataclass(frozen=True)
class Settings(TrainingSettings):
    """Pictures, backbone and budget of every quantizer."""

    quantizers: tuple[str, ...] = free(())
    """Names with commas between; by default all."""
    minutes: float | None = None
    """Minutes of training of each; 4 by default."""
    steps: int | None = None
    """Training steps of each, instead of minutes."""
    recipe: str = "tiny"
    """Recipe that gives the backbone."""
    prior_steps: int = 200
    """Training steps of a prior over the codes of each; 0 for none."""
    lpips: str | None = free(None)
    """VGG-16's weights in a local file, for LPIPS; by default a distance that needs no weights."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One quantizer's figures, on held-out pictures unless said otherwise."""

    quantizer: str = figure("quantizer")
    codebooks: str = figure("codebooks")
    """Number and sizes of the codebooks; "continuous" for none."""
    bits: float = figure("bits", ",.0f")
    """Bits of a picture's codes; of all latents as 32-bit floats where there are none."""
    prior_bits: float | None = figure("bits by a prior", ",.0f")
    """Bits of a picture's codes by a prior after a few steps: the codes that are easiest to learn have the
    fewest beside their number."""
    psnr: float = figure("PSNR (dB)", ".2f")
    ssim: float = figure("SSIM", ".3f")
    ms_ssim: float = figure("MS-SSIM", ".3f")
    distance: float = figure("distance", ".4f")
    use_held_out: float | None = figure("use, held out", ".1%")
    """Share of the codes that occur in the held-out pictures."""
    use_trained: float | None = figure("use, trained on", ".1%")
    """Share of the codes that occur in the training pictures."""
    perplexity: float | None = figure("perplexity", ".0f")
    steps: int = figure("steps")
    parameters: int = figure("parameters", ",")
    positions: tuple[int, int]
    """Codes of a codebook in the held-out and the training pictures; with few, not every one can occur."""
    shown: Float[Tensor, "B C H W"] | None = kept()


class Quantizers(TrainingComparison):
    """Tokenizers that differ in their quantizer alone: rate, distortion, codebook use.

    The run of each stays in `runs/NAME`; a training that was killed resumes at its last checkpoint.

    Arguments:
        settings: a record of `Settings`.
        changes: fields of the runs by dotted name, the same for all.
    """

    Settings, Row = Settings, Row
    minutes = 4.0

    def subjects(self) -> dict[str, Any]:
        self.check_budget()
        lookup(RECIPES, "recipe", self.settings.recipe)
        return {name: name for name in chosen(self.settings.quantizers, QUANTIZERS, "quantizer")}

    def agreed(self) -> dict[str, Any]:
        return super().agreed() | {"distance": name_of(self.distance)}

    @cached_property
    def distance(self) -> Distance:
        """Perceptual distance of two pictures."""
        return perceptual_distance(self.settings.lpips)

    def rows(self, subjects: Mapping[str, Any], folder: Path) -> Iterator[Row]:
        for name in subjects:
            self._train(folder / "runs" / name, name)
            yield self._row(folder / "runs" / name, name)

    def _train(self, run: Path, name: str) -> None:
        asked, shared = self.settings, {"seed": self.settings.seed, **self.changes}
        recipe = RECIPES[asked.recipe]
        if recipe.kind is not TwoStage:
            raise UserError(f"recipe {asked.recipe!r} was given", "one that trains a tokenizer was expected")
        factor = shared.get("tokenizer.factor") or recipe(self.pictures).tokenizer.factor
        options = QUANTIZERS[name].options_for(self.pictures.size // factor)
        own = {"tokenizer.quantizer": name, "tokenizer.quantizer_options": options}
        own["training.prior.steps"] = max(1, asked.prior_steps)
        given = {"recipe": asked.recipe, "size": asked.size, "changes": NOT_LOOKED_AT | shared | own}
        train(asked.source, run, stage="tokenizer", resume=True, **self.budget, **given)
        model = on_device(load(run))
        if asked.prior_steps and model.tokenizer.quantizer.sizes and model.codes_per_picture <= MOST_CODES:
            train(asked.source, run, stage="prior", resume=True, **given)

    def _row(self, run: Path, name: str) -> Row:
        model = on_device(load(run))
        splits = [some(self.pictures.split(part), MEASURED) for part in ("held_out", "train")]
        found = evaluate_model(model, splits[0], distance=self.distance)
        sizes, grid = model.tokenizer.quantizer.sizes, model.tokenizer.code_shape((model.size, model.size))
        codes = model.encode(self.original().to(model.device))
        return Row(
            quantizer=name,
            codebooks=_books(sizes),
            bits=codes[0].numel() * FLOAT_BITS if found.bits_per_picture is None else found.bits_per_picture,
            prior_bits=found.prior_bits_per_picture,
            psnr=found.psnr,
            ssim=found.ssim,
            ms_ssim=found.ms_ssim,
            distance=found.perceptual,
            use_held_out=found.codebook_use,
            use_trained=_use(model, splits[1]) if sizes else None,
            perplexity=found.perplexity,
            steps=_steps(run),
            parameters=count_parameters(model.tokenizer),
            positions=tuple(math.prod(grid) * len(part) for part in splits),
            shown=model.decode(codes).cpu(),
        )

    def notes(self, rows: Sequence[Row]) -> str:
        asked, (held_out, trained) = self.settings, rows[0].positions
        return (
            f"The {asked.recipe} recipe on {asked.source}, {self.budget_words} for each quantizer, seed "
            f"{asked.seed}. Distance: {name_of(self.distance)}. Bits are the codes' without a prior, and by "
            f"one of {asked.prior_steps} steps where a picture has up to {MOST_CODES} codes; continuous "
            f"bottlenecks count {FLOAT_BITS} for each number. Use is the share of codes that occur among the "
            f"{held_out:,} positions of the held-out pictures, and among the {trained:,} of the training "
            f"pictures; perplexity is over the held-out ones."
        )

    def plot(self, rows: Sequence[Row]) -> Any:
        panels = {
            "PSNR (dB), more is better": {row.quantizer: row.psnr for row in rows},
            f"{name_of(self.distance)}, less is better": {row.quantizer: row.distance for row in rows},
        }
        return rate_distortion({row.quantizer: row.bits for row in rows}, panels)

    def original(self) -> Float[Tensor, "B C H W"]:
        return pixels(some(self.pictures.split("held_out"), SHOWN))


def _use(model: Model, pictures: Pictures) -> float:
    use = CodebookUse(model.tokenizer.quantizer.sizes)
    for _, _, codes, _ in reconstructions(model, pictures):
        use.add(codes)
    return use.together().use


def _steps(run: Path) -> int:
    """Steps of the training, from its log."""
    lines = read_log(run / "log.jsonl")
    return [line["step"] for line in lines if line["stage"] == "tokenizer" and "seconds" in line][-1]


def _books(sizes: Sequence[int]) -> str:
    if not sizes:
        return "continuous"
    return f"{sizes[0]:,}" if len(sizes) == 1 else f"{len(sizes)} × {sizes[0]:,}"
