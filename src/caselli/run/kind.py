"""The contract of a kind of run: one class that everything about a run asks."""

from __future__ import annotations

import dataclasses
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import nn

from caselli import ranks
from caselli.data import Augment, Batches, Pictures
from caselli.engine import Log, Machine, Task, Training, TrainingConfig, tracked
from caselli.errors import UserError, lookup
from caselli.figures import Figure
from caselli.layer import count_parameters
from caselli.plain import flatten, override
from caselli.run.config import DataConfig, RunConfig
from caselli.run.folder import RunFolder
from caselli.run.pictures import Data, batches_of, open_pictures
from caselli.trained import Trained

VALIDATED = 1024
"""Held-out samples looked at in each validation, at most."""


class Stage(ABC):
    """One training of a run, and its result.

    Arguments:
        run: the run under way.
    """

    product: ClassVar[str]
    """Stem of the files that the stage leaves; where their description is, the stage is done."""
    training: ClassVar[str] = "training"
    """Dotted name of the stage's budget and optimiser in the configuration."""
    augments: ClassVar[bool] = True
    """True where the samples are pictures, which the run's augmentation changes."""
    validated: ClassVar[int | None] = VALIDATED
    """Held-out samples looked at in each validation, at most; None for all."""
    early: float = 0.0
    """Share of the budget after which the averaged weights are kept besides, for `save_early`; 0 for not at
    all."""
    results: ClassVar[str]
    """Name of the group of `results.json` that `look` adds."""
    figures: ClassVar[Mapping[str, Figure]]
    """The figures that the stage logs and measures, by name."""

    def __init__(self, run: Any) -> None:
        self.run = run

    @property
    def name(self) -> str:
        """The stage's name in the log and among the checkpoints."""
        return self.product

    @property
    def config(self) -> TrainingConfig:
        """Budget and optimiser."""
        return operator.attrgetter(self.training)(self.run.config)

    @property
    def log(self) -> Log:
        """Log of the stage."""
        return Log(self.run.folder.path, self.name)

    def announce(self, network: nn.Module, words: str = "") -> None:
        """Says how large a network is, after other words."""
        self.log.say(f"{words}{count_parameters(network) / 1e6:.2f} M parameters")

    def has_result(self) -> bool:
        """True where the result of a training is in the folder, if of a shorter one."""
        return (self.run.folder.path / f"{self.product}.json").exists()

    def spent(self) -> float | None:
        """Share of the budget that the newest checkpoint has spent; None where there is no checkpoint."""
        reached = self.run.folder.reached(self.name)
        return None if reached is None else self.config.spent(*reached)

    def is_done(self) -> bool:
        """True where the result is in the folder, and nothing of the budget is left to go on with."""
        if not self.has_result():
            return False
        spent = self.spent()
        return spent is None or spent >= 1

    @abstractmethod
    def task(self) -> Task:
        """A fresh task; its weights are a function of the run's seed alone."""

    def sets(self) -> tuple[Any, Any]:
        """The samples that are trained on, and those held out."""
        return self.run.data.train, self.run.data.held_out

    def rehearsed(self) -> Stage:
        """The stage with untrained stand-ins for what earlier stages leave, where a run is only planned."""
        return self

    def example(self, count: int) -> Any:
        """A batch of so many samples in the form that the stage trains on; what they show does not matter."""
        return self.run.data.train.batch(torch.zeros(count, dtype=torch.int64))

    @abstractmethod
    def save(self, task: Any) -> None:
        """Writes the result of the training."""

    def save_early(self, task: Any, state: dict[str, Any]) -> None:
        """Writes what the weights kept early are for; called before `save`, where `early` is above 0.

        Arguments:
            task: the trained one.
            state: its averaged weights then, `task`, and the number of steps that they had, `step`.
        """
        raise AssertionError(f"{self.name} keeps weights early and has no use for them")

    @abstractmethod
    def look(self) -> None:
        """Measures and draws the result, from what lies in the folder; the section `results`, which says that
        this is done, is written last."""


class Kind(ABC):
    """A kind of run; an instance is one such run under way.

    A kind is final. It says what a run of it is made from, which stages it has, what it loads into, and how
    that is measured; `caselli.run.training` does the rest, the same for every kind.

    Arguments:
        folder: where the run lies.
        config: its configuration, a `config_kind`.
        data: its pictures.
        machine: where it computes.
    """

    name: ClassVar[str]
    """The kind's name in `run.yaml`."""
    config_kind: ClassVar[type[RunConfig]]
    """The configuration record."""
    recipes: ClassVar[Mapping[str, Callable[[Pictures], RunConfig]]]
    """Recipes by name: functions of the pictures, to be read from top to bottom."""
    stages: ClassVar[tuple[type[Stage], ...]]
    """The trainings, in order."""
    settled: ClassVar[Mapping[str, Callable[[Data], Any]]] = {
        "data.size": lambda data: data.pictures.size,
        "data.channels": lambda data: data.pictures.channels,
    }
    """Fields that follow from the data, by dotted name; nobody can set them."""

    def __init__(self, folder: RunFolder, config: Any, data: Data, machine: Machine) -> None:
        self.folder, self.config, self.data, self.machine = folder, config, data, machine
        self.threads: int | None = None
        """Threads that made the fastest steps of the last training; None before."""

    # what a run of this kind is -----------------------------------------------------------------------------

    @classmethod
    def fields(cls, recipe: str) -> RunConfig:
        """The record whose fields a run of a recipe can be given, before its pictures are known."""
        return cls.config_kind()

    @classmethod
    def stage_shares(cls, recipe: str) -> dict[type[Stage], float]:
        """The stages that a recipe's runs go through, with their shares of the minutes: 0 where there is
        nothing to train."""
        return dict.fromkeys(cls.stages, 1.0)

    @classmethod
    def start(cls, recipe: str, data: Data, changes: Mapping[str, Any]) -> Any:
        """The recipe's configuration for these data, before the changes are made."""
        return lookup(cls.recipes, "recipe", recipe)(data.pictures)

    @classmethod
    def shared_out(cls, config: Any, budget: dict[str, Any]) -> dict[str, Any]:
        """A budget as the recipe's configuration shares it out among the stages; as it is unless the recipe
        knows better from the pictures."""
        return budget

    @classmethod
    def shared_again(cls, before: Any, budget: dict[str, Any]) -> dict[str, Any]:
        """A budget of a run that goes on; as it is unless the run had shared out its first one otherwise.

        Arguments:
            before: the run's configuration.
            budget: minutes or steps of the stages that go on, by the recipe's shares.
        """
        return budget

    @classmethod
    def configured(cls, recipe: str, data: Data, budget: dict[str, Any], changes: Mapping[str, Any]) -> Any:
        """The configuration with which a new run begins; see `caselli.run.training.begun`."""
        start = cls.start(recipe, data, {**budget, **changes})
        settled = {name: of_data(data) for name, of_data in cls.settled.items()}
        config = override(start, {**cls.shared_out(start, budget), **changes, **settled})
        cls.check(config, data)
        return config

    @classmethod
    def plan(cls, config: Any, data: Data) -> list[str]:
        """Sentences for the log about what a recipe chose, and why."""
        return []

    @classmethod
    def config_in(cls, folder: RunFolder) -> Any:
        """The configuration that `run.yaml` holds."""
        described = folder.describe()["config"]
        return override(cls.fields(described.get("recipe", "")), described)

    @classmethod
    def figures(cls) -> dict[str, Figure]:
        """The figures of such runs, for people, in the order in which a page shows them."""
        found = {"count": Figure("pictures"), "class_names": Figure("names of the classes")}
        for stage in cls.stages:
            found |= stage.figures
        return found

    @classmethod
    def probe(cls, folder: RunFolder) -> Any:
        """The run in a folder as its files describe it, to ask how far it is: without pictures or machine."""
        return cls(folder, cls.config_in(folder), None, None)

    @classmethod
    def open(cls, config: DataConfig, progress: bool) -> Data:
        """The data of a run."""
        return open_pictures(config, progress)

    @classmethod
    @abstractmethod
    def check(cls, config: Any, data: Data) -> None:
        """Raises what is wrong with the configuration before any time is spent."""

    @classmethod
    @abstractmethod
    def load(cls, folder: RunFolder) -> Trained:
        """The model that a run folder loads into."""

    @classmethod
    @abstractmethod
    def evaluate(cls, trained: Any, source: str, split: str, lpips: str | None = None) -> dict[str, Any]:
        """Figures of a trained run on pictures that it has not seen.

        Arguments:
            trained: what `load` gave.
            source, split: the pictures, and which part of them is measured.
            lpips: file of VGG-16's published weights, for the perceptual distance of reconstructions.
        """

    # a run under way ----------------------------------------------------------------------------------------

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Random numbers that are a function of the run's seed."""
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            yield

    def shares(self) -> dict[str, int]:
        """Seed and part of the batches that this rank takes."""
        return {"seed": self.config.seed, "rank": ranks.rank(), "ranks": ranks.count()}

    def augment(self) -> Augment:
        """Random changes of the pictures."""
        return Augment(flip=self.config.data.flip, shift=self.config.data.shift)

    def fit(
        self,
        task: Task,
        config: TrainingConfig,
        name: str,
        sets: tuple[Any, Any],
        augments: bool = True,
        validated: int | None = VALIDATED,
        early: float = 0.0,
    ) -> Task:
        """A task trained in this run, from its newest checkpoint on.

        Arguments:
            task: what is trained.
            config: budget and optimiser.
            name: the training's name in the log and among the checkpoints.
            sets: samples that are trained on, and those held out.
            augments: True where the samples are pictures, to be varied.
            validated: held-out samples looked at in each validation, at most; None for all.
            early: share of the budget after which the averaged weights are kept besides; 0 for not at all.
        """
        samples, held_out = sets
        if config.batch % (ranks.count() * config.accumulate):
            raise UserError(
                f"{config.batch} samples in {config.accumulate} pieces were given {ranks.count()} processes",
                "as many in each piece were expected",
                f"give a multiple of {ranks.count() * config.accumulate}",
            )
        augment = self.augment() if augments else Augment()
        batches = Batches(samples, config.batch, augment=augment, **self.shares())
        validation = batches_of(held_out, config.batch, validated)
        path, seed = self.folder.path, self.config.seed
        with tracked(self.config.track, path, name, flatten(self.config)) as trackers:
            parts = task, batches, validation, config, path, name, self.machine, seed, trackers
            training = Training(*parts, early)
            trained = training.run()
            self.threads = training.fit.threads
        for sentence in self.data.met():
            Log(path, name).say(sentence)
        return trained


def refuse_lpips(weights: str | None) -> None:
    """Raises a `UserError` where weights for LPIPS are given to a run that reconstructs by no tokenizer."""
    if weights is not None:
        raise UserError("the perceptual distance LPIPS was asked for", "a run with a tokenizer was expected")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe with the kind of run that it makes."""

    kind: type[Kind]
    func: Callable[[Pictures], RunConfig]

    def __call__(self, pictures: Pictures) -> Any:
        """The configuration for a set of pictures."""
        return self.func(pictures)
