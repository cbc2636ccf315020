"""A run with one stage, from pictures to report, taken up wherever it stands."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from caselli import ranks
from caselli.data import Augment, Batches, Pictures
from caselli.engine import Log, Machine, Training
from caselli.errors import UserError, lookup
from caselli.family import FAMILIES, FamilyModel, FamilyTask, load_family, save_family
from caselli.report import write_report
from caselli.run.config import DataConfig, override
from caselli.run.family_config import FamilyRunConfig, described_config
from caselli.run.family_recipes import FAMILY_RECIPES
from caselli.run.family_summary import look_at_family
from caselli.run.folder import RunFolder, resumed_config
from caselli.run.opening import (
    enter,
    expect_same,
    one_stage_budget,
    open_pictures,
    recorded_machine,
    say_pictures,
    settle,
    validation_batches,
)


def train_family(
    source: str | Path,
    out: str | Path,
    *,
    recipe: str,
    size: int | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    resume: bool = False,
    changes: dict[str, Any] | None = None,
    progress: bool = True,
) -> Path:
    """Trains a one-stage family and writes the report; returns the run folder.

    Arguments:
        source: pictures; see `caselli.data.open`.
        out: the run folder; new or empty, unless `resume`.
        recipe: name in `FAMILY_RECIPES`.
        size: height and width in pixels; None for the set's own.
        minutes: wall-clock budget of the training; the schedule follows the clock.
        steps: optimiser steps, instead of the recipe's.
        resume: go on with the run in `out`; it keeps its configuration. Begins one if there is none.
        changes: fields by dotted name, such as `{"model.count": 32}`.
        progress: whether long work shows a bar.

    Errors: `UserError` for whatever is wrong with the arguments, the pictures or the folder.
    """
    folder, begun = enter(out, resume)
    budget = one_stage_budget(size, minutes, steps)
    changes = {"data.source": str(source), **budget, **(changes or {})}
    begin = _Run.resumed if begun else _Run.begun
    run = begin(folder, recipe, changes, progress)
    run.train()
    if ranks.is_first():
        Log(folder.path, "report").say(f"look at {write_report(folder.path)}")
    ranks.wait()
    return folder.path


@dataclasses.dataclass
class _Run:
    folder: RunFolder
    config: FamilyRunConfig
    pictures: Pictures
    held_out: Pictures
    machine: Machine

    @classmethod
    def begun(cls, folder: RunFolder, recipe: str, changes: dict[str, Any], progress: bool) -> _Run:
        chosen = lookup(FAMILY_RECIPES, "recipe", recipe)
        own = {k.removeprefix("data."): v for k, v in changes.items() if k.startswith("data.")}
        everything = open_pictures(override(DataConfig(), own), progress)
        pictures = everything.split("train")
        settled = {
            f"{part}.{name}": getattr(pictures, name)
            for part in ("data", "model")
            for name in ("size", "channels")
        }
        config = override(chosen(pictures), changes | settled)
        _check(config, pictures)
        where = settle(folder, config, pictures.fingerprint)
        return cls(folder, config, pictures, everything.split("held_out"), where).ready()

    @classmethod
    def resumed(cls, folder: RunFolder, recipe: str, changes: dict[str, Any], progress: bool) -> _Run:
        config = resumed_config(described_config(folder), changes)
        everything = open_pictures(config.data, progress)
        pictures = everything.split("train")
        expect_same(folder, config.data.source, pictures.fingerprint)
        _check(config, pictures)
        where = recorded_machine(folder)
        if ranks.is_first():
            folder.write(config, pictures.fingerprint, where)
        return cls(folder, config, pictures, everything.split("held_out"), where).ready()

    def ready(self) -> _Run:
        say_pictures(self.folder, self.pictures, self.held_out, self.machine)
        return self

    def train(self) -> None:
        """The one stage, unless it is done already, then the look at what came out."""
        path, config = self.folder.path, self.config.training
        if (path / "family.json").exists():
            return
        task = FamilyTask(_built(self.config))
        parameters = sum(p.numel() for p in task.parameters())
        Log(path, self.config.family).say(f"{parameters / 1e6:.2f} M parameters")
        batches = Batches(
            self.pictures,
            config.batch,
            seed=self.config.seed,
            augment=Augment(flip=self.config.data.flip, shift=self.config.data.shift),
            rank=ranks.rank(),
            ranks=ranks.count(),
        )
        held_out = validation_batches(self.held_out, config.batch)
        stage, seed = self.config.family, self.config.seed
        task = Training(task, batches, held_out, config, path, stage, self.machine, seed).run()
        if ranks.is_first():
            names = self.pictures.classes if self.config.model.classes else ()
            save_family(FamilyModel(stage, task.family, names), path)
            model = load_family(path).to(self.machine.device)
            look_at_family(self.folder, model, self.pictures, self.held_out, self.config.reading)
        ranks.wait()


def _built(config: FamilyRunConfig):
    """The fresh family, its weights a function of the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return lookup(FAMILIES, "family", config.family)(config.model)


def _check(config: FamilyRunConfig, pictures: Pictures) -> None:
    """Raises what is wrong with the family before any time is spent on it."""
    if config.model.classes not in (0, len(pictures.classes)):
        raise UserError(
            f"model.classes {config.model.classes} was given",
            f"0 or the set's {len(pictures.classes)} was expected",
        )
    _built(config)
