"""Runs of one stage: a family of distributions over pictures."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from caselli.engine import Log
from caselli.errors import UserError, lookup
from caselli.evaluate import evaluate_family
from caselli.family import FAMILIES, FamilyModel, FamilyTask, load_family, save_family
from caselli.layer import count_parameters
from caselli.run.config import DataConfig
from caselli.run.family_config import FamilyRunConfig
from caselli.run.family_recipes import FAMILY_OF_RECIPE, FAMILY_RECIPES
from caselli.run.family_summary import look_at_family
from caselli.run.folder import RunFolder
from caselli.run.kind import Data, Kind, Stage
from caselli.run.pictures import open_pictures, open_split


class FamilyStage(Stage):
    """The one stage of a family."""

    product = "family"
    figures = "evaluation"

    @property
    def name(self) -> str:
        return self.run.config.family

    def task(self) -> FamilyTask:
        config = self.run.config
        with self.run.seeded():
            task = FamilyTask(FAMILIES[config.family](config.model))
        parameters = count_parameters(task)
        Log(self.run.folder.path, self.name).say(f"{parameters / 1e6:.2f} M parameters")
        return task

    def save(self, task: FamilyTask) -> None:
        names = self.run.data.classes if self.run.config.model.classes else ()
        save_family(FamilyModel(self.name, task.family, names), self.run.folder.path)

    def look(self) -> None:
        run = self.run
        model = load_family(run.folder.path).to(run.machine.device)
        look_at_family(run.folder, model, run.data.pictures, run.data.held_out, run.config.reading)


class FamilyRun(Kind):
    """A family of distributions over pictures, learned in one stage: VAE, GAN, mixture."""

    name = "family"
    config_kind = FamilyRunConfig
    recipes = FAMILY_RECIPES
    stages = (FamilyStage,)
    settled = {
        "data.size": lambda data: data.pictures.size,
        "data.channels": lambda data: data.pictures.channels,
        "model.size": lambda data: data.pictures.size,
        "model.channels": lambda data: data.pictures.channels,
    }

    @classmethod
    def fields(cls, recipe: str) -> FamilyRunConfig:
        """The record of the recipe's family: each has fields of its own."""
        family = lookup(FAMILIES, "family", lookup(FAMILY_OF_RECIPE, "recipe", recipe))
        return FamilyRunConfig(model=family.config_kind())

    @classmethod
    def open(cls, config: DataConfig, progress: bool) -> Data:
        return open_pictures(config, progress)

    @classmethod
    def check(cls, config: FamilyRunConfig, data: Data) -> None:
        if config.model.classes not in (0, len(data.classes)):
            raise UserError(
                f"model.classes {config.model.classes} was given",
                f"0 or the set's {len(data.classes)} was expected",
            )
        with torch.random.fork_rng():
            lookup(FAMILIES, "family", config.family)(config.model)

    @classmethod
    def load(cls, folder: RunFolder) -> FamilyModel:
        return load_family(folder.path)

    @classmethod
    def evaluate(
        cls, trained: FamilyModel, source: str, split: str, lpips: str | None = None
    ) -> dict[str, Any]:
        if lpips is not None:
            raise UserError(
                "the perceptual distance LPIPS was asked for", "a run with a tokenizer was expected"
            )
        pictures, held_out = (open_split(trained, source, part) for part in ("train", split))
        return dataclasses.asdict(evaluate_family(trained, pictures, held_out))
