"""Runs of one stage: a family of distributions over pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from caselli.errors import UserError, lookup
from caselli.evaluate import Copies, FamilyEvaluation, Readability, SetComparison, evaluate_family
from caselli.family import FAMILIES, FamilyModel, FamilyTask, load_family, save_family
from caselli.figures import Figure, figures_of
from caselli.plain import override
from caselli.run.family_config import FamilyRunConfig
from caselli.run.family_recipes import FAMILY_OF_RECIPE, FAMILY_RECIPES
from caselli.run.family_summary import look_at_family
from caselli.run.folder import RunFolder
from caselli.run.kind import Kind, Stage, refuse_lpips
from caselli.run.pictures import Data, open_split


class FamilyStage(Stage):
    """The one stage of a family."""

    product = "family"
    results = "evaluation"
    figures = (
        FamilyTask.figures
        | figures_of(FamilyEvaluation)
        | figures_of(SetComparison)
        | figures_of(Copies)
        | figures_of(Readability)
        | {"drawn_per_second": Figure("pictures drawn per second", ",.0f")}
    )

    @property
    def name(self) -> str:
        return self.run.config.family

    def task(self) -> FamilyTask:
        config = self.run.config
        with self.run.seeded():
            task = FamilyTask(FAMILIES[config.family](config.model))
        self.announce(task)
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
    settled = Kind.settled | {
        "model.size": lambda data: data.pictures.size,
        "model.channels": lambda data: data.pictures.channels,
    }

    @classmethod
    def start(cls, recipe: str, data: Data, changes: Mapping[str, Any]) -> FamilyRunConfig:
        """The recipe's configuration; another divergence brings regularisers of its own."""
        found = super().start(recipe, data, changes)
        own = getattr(found.model, "divergence", None)
        if hasattr(found.model, "regularisers") and changes.get("model.divergence", own) != own:
            found = override(found, {"model.regularisers": {}})
        return found

    @classmethod
    def fields(cls, recipe: str) -> FamilyRunConfig:
        """The record of the recipe's family: each has fields of its own."""
        family = lookup(FAMILIES, "family", lookup(FAMILY_OF_RECIPE, "recipe", recipe))
        return FamilyRunConfig(model=family.config_kind())

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
        refuse_lpips(lpips)
        pictures, held_out = (open_split(trained, source, part) for part in ("train", split))
        return dataclasses.asdict(evaluate_family(trained, pictures, held_out))
