"""Steps by which either stage of a run is made smaller: compress, write, train, write again."""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from caselli import ranks
from caselli.engine import Log, Task, TrainingConfig
from caselli.errors import UserError
from caselli.model import Model
from caselli.prior import Prior
from caselli.run.slim_config import SlimConfig
from caselli.run.two_stage import TwoStage
from caselli.slim import (
    PATTERNS,
    STRUCTURES,
    Loss,
    keep_zeros,
    quantise,
    quantise_in_training,
    remove_layers,
    remove_units,
    remove_weights,
    settle,
)
from caselli.weights import Compression, narrowed

MEASURED = 32, 16
"""Batches, and samples of each, by which importance is measured."""


class SlimStage(ABC):
    """One stage of a smaller run. What is compressed is written before it is trained, so that the folder
    holds a run at any moment; a training that was interrupted goes on from its checkpoints.

    Arguments:
        run: the new one, its folder holding a configuration.
        before: the old run's model.
        config: what is done.
        old: the old run's folder.
    """

    name: ClassVar[str]
    augments: ClassVar[bool]
    """True where the samples are pictures, which the run's augmentation changes."""

    def __init__(self, run: TwoStage, before: Model, config: SlimConfig, old: Path) -> None:
        self.run, self.before, self.config, self.old = run, before, config, old
        self.path, self.seed = run.folder.path, run.config.seed

    @abstractmethod
    def compressed(self, log: Log) -> tuple[nn.Module, Compression]:
        """The old network made smaller, and how."""

    @abstractmethod
    def save(self, network: nn.Module, compression: Compression) -> None:
        """Writes a network that was made smaller to the new run."""

    @abstractmethod
    def held(self, network: nn.Module) -> nn.Module:
        """The part whose weights are trained."""

    @abstractmethod
    def task(self, network: nn.Module) -> Task:
        """The training's task."""

    @abstractmethod
    def sets(self) -> tuple[Any, Any]:
        """The samples that are trained on, and those held out."""

    @abstractmethod
    def trained(self, task: Task) -> nn.Module:
        """The network out of the task."""

    @abstractmethod
    def sparse(self, network: nn.Module, compression: Compression) -> Compression:
        """The packing of a network that was pruned: without its zeros."""

    def make(self) -> None:
        """Compresses and trains, unless that is done already."""
        training_left = self.config.trains and self.config.covers(self.name) and not self._over()
        if (self.path / f"{self.name}.json").exists() and not training_left:
            return
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            network, compression = self.compressed(Log(self.path, self.name))
        self._save(network, compression)
        if training_left:
            self._train(network, compression)

    def _train(self, network: nn.Module, compression: Compression) -> None:
        part = self.held(network)
        if self.config.quantise:
            quantise_in_training(part, self.config.quantise)
        else:
            keep_zeros(part)
        budget = self._budget(part)
        task = self.run.fit(self.task(network), budget, self.name, self.sets(), self.augments)
        settle(task)
        network = self.trained(task)
        if self.config.quantise:
            packed = quantise(network, self.config.quantise, self.config.activations).packed
            compression = dataclasses.replace(compression, packed=packed)
        elif self.config.prune:
            compression = self.sparse(network, compression)
        self._save(network, compression)
        if ranks.is_first():
            over = self.run.folder.results().get("trained", {})
            self.run.folder.add_results(trained={**over, self.name: True})
        ranks.wait()

    def _save(self, network: nn.Module, compression: Compression) -> None:
        if ranks.is_first():
            self.save(network.cpu(), compression)
        ranks.wait()

    def _over(self) -> bool:
        return bool(self.run.folder.results().get("trained", {}).get(self.name))

    def _budget(self, part: nn.Module) -> TrainingConfig:
        """The run's own training of the stage with the budget asked for; two stages share the minutes."""
        config, own = self.config, getattr(self.run.config.training, self.name)
        stages = 2 if config.covers("prior") and config.covers("tokenizer") and self.before.prior else 1
        rate = config.learning_rate or own.learning_rate * (1 if config.distil_to else 1 / 3)
        changes = {
            "minutes": config.minutes and config.minutes / stages,
            "steps": config.steps or own.steps,
            "learning_rate": rate,
            "batch": config.batch or own.batch,
        }
        if any(hasattr(module, "parametrizations") for module in part.modules()):
            # Muon takes plain weights alone
            changes |= {"optimiser": "adamw", "learning_rate": config.learning_rate or min(rate, 1e-3)}
        return dataclasses.replace(own, **changes)

    # for the stages -----------------------------------------------------------------------------------------

    def prune(self, network: nn.Module, losses: Sequence[Loss], log: Log) -> None:
        """Takes out what was asked for."""
        for kind in self.config.structure:
            if kind in STRUCTURES:
                log.say(remove_units(network, kind, self.config.prune, losses))
            elif kind in PATTERNS:
                log.say(remove_weights(network, kind, self.config.prune))
            elif isinstance(network, Prior):
                log.say(remove_layers(network, self.config.prune, losses))
            else:
                raise UserError(
                    "layers of a tokenizer were to be taken out", "a prior was expected", "choose channels"
                )


def teacher_of(network: nn.Module) -> nn.Module:
    """A copy to learn from."""
    return copy.deepcopy(network).eval().requires_grad_(False)


def with_narrowed(compression: Compression, network: nn.Module, reference: nn.Module) -> Compression:
    """A compression with all that is narrower in a network than in what its configuration builds."""
    found = narrowed(network, reference)
    return dataclasses.replace(compression, numbers=found.numbers, shapes=found.shapes)
