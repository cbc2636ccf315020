"""`caselli compare priors`: every mixer as a prior over the same codes, for equal budgets and parameters."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from caselli.compare.base import free, kept, panels
from caselli.compare.equal_priors import kept_bytes, prior_of
from caselli.compare.judged import FIRST, NOT_LOOKED_AT, JudgedComparison, JudgedSettings
from caselli.compare.pictures import labels_for, pixels, some
from caselli.compare.sequence_model import is_causal
from caselli.engine import on_device
from caselli.errors import UserError, lookup
from caselli.evaluate import frechet_between, refuse_teacher
from caselli.features import linear_probe
from caselli.figures import figure
from caselli.interop import Imported
from caselli.layer import count_parameters
from caselli.mixer import MIXERS
from caselli.model import Model, load, load_tokenizer
from caselli.prior import PriorConfig
from caselli.report import dress
from caselli.run import RECIPES, Data, RunFolder, TwoStage, adopt, train
from caselli.sampling import Timed
from caselli.shapes import Float, Tensor

HYBRIDS = ("mamba2+attention", "gated_delta_net+local", "kda+kda+kda+attention")
"""Beside all causal mixers."""
READ = 1000
"""Real pictures whose labels the reader of samples learns."""
SHARED = "tokenizer"
"""Name of the run whose tokenizer all priors share."""


@dataclasses.dataclass(frozen=True)
class Settings(JudgedSettings):
    """Pictures, and the budget and size of every prior."""

    mixers: tuple[str, ...] = free(("all",))
    """Names with commas between, a+b for a hybrid, or all: the causal ones and three hybrids."""
    minutes: float | None = None
    """Minutes of training of each prior; 2 by default."""
    steps: int | None = None
    """Training steps of each prior, instead of minutes."""
    tokenizer_steps: int | None = None
    """Training steps of the tokenizer that all share; the recipe's by default."""
    recipe: str = "tiny"
    """Recipe that gives the tokenizer, and what is not said here of the prior."""
    width: int = 128
    """Width of the priors, E."""
    depth: int = 4
    """Layers of the priors."""
    batch: int = 64
    """Pictures in a step of a prior."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One mixer's prior, on held-out pictures."""

    mixer: str = figure("mixer")
    parameters: int = figure("parameters", ",")
    steps: int = figure("steps", ",")
    bits: float = figure("bits a code", ".3f")
    distance: float = figure("Fréchet distance", ".1f")
    """Distance of samples from as many held-out pictures."""
    read: float | None = figure("labels read", ".1%")
    """Share of samples whose label, read off independent features, is the one asked for; None without any."""
    learnt: float = figure("codes a second, learnt", ",.0f", timed=True)
    sampled: float = figure("codes a second, sampled", ",.0f", timed=True)
    state: float = figure("kB a picture", ",.1f")
    """Memory that sampling one picture keeps between codes."""
    shown: Float[Tensor, "B C H W"] | None = kept()


class Priors(JudgedComparison):
    """Every mixer as a prior over the same codes, for equal budgets and parameters.

    The run of each mixer stays in `runs/NAME`; a training that was killed resumes at its last checkpoint.
    Distances and labels are by a network of features that trained none of them; captions are left out.

    Arguments:
        settings: a record of `Settings`.
        changes: fields of the runs by dotted name, the same for all.
    """

    Settings, Row = Settings, Row
    minutes = 2.0

    def subjects(self) -> dict[str, str]:
        asked = self.settings
        if RunFolder(asked.source).holds_run():
            hint = "compare runs by `caselli compare samples RUN ...`"
            raise UserError(f"the run {asked.source} was given", "pictures were expected", hint)
        self.check_budget()
        if lookup(RECIPES, "recipe", asked.recipe).kind is not TwoStage:
            raise UserError(f"recipe {asked.recipe!r} was given", "one of two stages was expected")
        names = asked.mixers
        if names == ("all",):
            names = (*(name for name in MIXERS if is_causal(name)), *HYBRIDS)
        for name in names:
            if not is_causal(name):
                raise UserError(f"mixer {name!r} was given", "a prior needs a causal one")
        return {name: name for name in names}

    def rows(self, subjects: Mapping[str, str], folder: Path) -> Iterator[Row]:
        shared = {"steps": self.settings.tokenizer_steps}
        self._train(folder / "runs" / SHARED, SHARED, shared, self.changes)
        tokenizer, size = load_tokenizer(folder / "runs" / SHARED)
        real, reader = self.features(pixels(self.held_out)), self._reader()
        for name in subjects:
            run = folder / "runs" / re.sub("[+:=]", "_", name)
            self._train_prior(run, name, Imported(tokenizer, size))
            yield self._row(on_device(load(run)), RunFolder(run), name, real, reader)

    def _reader(self) -> tuple[Tensor, Tensor] | None:
        """Features and labels of real pictures that no sample is measured against."""
        pictures = some(self.pictures.split("train"), READ)
        return None if pictures.labels is None else (self.features(pixels(pictures)), pictures.labels)

    @cached_property
    def recipe(self) -> PriorConfig:
        """The recipe's prior at the size asked for, which says how many parameters all have."""
        prior = TwoStage.start(self.settings.recipe, Data.of(self.pictures), {}).prior
        return dataclasses.replace(prior, width=self.settings.width, depth=self.settings.depth, text="none")

    def _train(self, run: Path, stage: str, budget: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
        asked, changes = self.settings, {"seed": self.settings.seed, **changes}
        own = {"recipe": asked.recipe, "size": asked.size, **budget}
        train(asked.source, run, stage=stage, resume=True, changes=changes, **own)

    def _train_prior(self, run: Path, name: str, shared: Imported) -> None:
        """One prior over the shared tokenizer's codes, which are made once."""
        codes, asked = run.parent / SHARED / "codes", self.settings
        if not RunFolder(run).holds_run():
            adopt(shared, run)
        if codes.exists() and not (run / "codes").exists():
            shutil.copytree(codes, run / "codes")
        prior = prior_of(name, self.recipe, shared, len(self.pictures.classes))
        fields = ("width", "depth", "text", "mixer", "mixer_options", "expansion")
        rest = {name: value for name, value in self.changes.items() if not name.startswith("tokenizer.")}
        changes = rest | {f"prior.{field}": getattr(prior, field) for field in fields}
        changes |= {
            "training.prior.batch": asked.batch,
            "precision": RunFolder(run.parent / SHARED).describe()["machine"]["precision"],
            **NOT_LOOKED_AT,
        }
        self._train(run, "prior", self.budget, changes)
        if not codes.exists():
            shutil.copytree(run / "codes", codes)

    def _row(
        self, model: Model, run: RunFolder, name: str, real: Tensor, reader: tuple[Tensor, Tensor] | None
    ) -> Row:
        refuse_teacher(self.judges, model.teachers())
        prior, engine, shown = model.require_prior(), Timed(model.engine()[0]), len(self.original())
        seen = self.features(model.sample_like(self.held_out, FIRST, engine=engine).cpu())
        steps, seconds = run.reached("prior")
        return Row(
            mixer=name,
            parameters=count_parameters(prior),
            steps=steps,
            bits=run.results()["evaluation"]["prior_bits_per_picture"] / model.grid.length,
            distance=frechet_between(real, seen),
            read=None if reader is None else linear_probe(*reader, seen, self.held_out.labels),
            learnt=steps * self.settings.batch * model.grid.length / seconds,
            sampled=engine.codes / engine.seconds,
            state=kept_bytes(prior, model.grid.length) / 1e3,
            shown=model.sample(shown, labels_for(model, shown), 0).cpu(),
        )

    def notes(self, rows: Sequence[Row]) -> str:
        asked, fewest = self.settings, min(rows, key=lambda row: row.bits)
        nearest, fastest = min(rows, key=lambda row: row.distance), max(rows, key=lambda row: row.sampled)
        return (
            f"After {self.budget_words} a prior on {asked.source}, {fewest.mixer} needs the fewest bits, "
            f"{fewest.bits:.3f} a code. The samples of {nearest.mixer} lie nearest to {len(self.held_out)} "
            f"held-out pictures, at a Fréchet distance of {nearest.distance:.1f} by "
            f"{self.judge.features_name}. {fastest.mixer} samples fastest, {fastest.sampled:,.0f} codes a "
            "second."
        )

    def plot(self, rows: Sequence[Row]) -> Any:
        drawing, ((axes,),) = panels(8.0, 6.0)
        axes.plot([row.bits for row in rows], [row.distance for row in rows], "o", color="#2f6f9f")
        for row in rows:
            at = (row.bits, row.distance)
            axes.annotate(row.mixer, at, xytext=(4, 3), textcoords="offset points", fontsize=7)
        dress(axes, "Fréchet distance of samples", "bits a code", grid="both")
        return drawing
