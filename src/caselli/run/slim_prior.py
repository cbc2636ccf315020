"""A run's prior made smaller."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

from torch import nn

from caselli.data import CodeBatches
from caselli.engine import Log, Task
from caselli.mixer import MIXERS
from caselli.model import build_prior, grid_of, load_tokenizer, save_prior
from caselli.plain import options_of
from caselli.prior import Prior, PriorConfig, PriorTask
from caselli.run.slim_stage import MEASURED, SlimStage, note_narrowed, teacher_of
from caselli.run.two_stage import validation_codes
from caselli.slim import (
    Distilled,
    Distilling,
    Loss,
    inherit,
    leave_zeros_out,
    quantise,
    refuse_other_kinds,
)
from caselli.tokenizer import Tokenizer


class SlimPrior(SlimStage):
    """The prior quantised, pruned, or a small one distilled from it."""

    name = "prior"

    def compressed(self, log: Log) -> Prior:
        prior, config = copy.deepcopy(self.before.prior), self.config
        if not config.covers("prior"):
            return prior
        if config.quantise:
            quantise(prior, config.quantise, config.activations)
        elif config.prune:
            self.prune(prior, self._losses(prior), log)
        else:
            prior = self._student(prior, log)
        note_narrowed(prior, self._fresh(prior.config))
        return prior

    def save(self, network: Prior) -> None:
        run = self.run
        save_prior(network, self.path, self._tokenizer().fingerprint(), self.before.classes)
        config = dataclasses.replace(run.config, prior=network.config)
        run.folder.write(config, run.pictures.fingerprint, run.machine)

    def held(self, network: Prior) -> nn.Module:
        return network

    def training(self, network: Prior, batch: int) -> tuple[Task, Any, Sequence[Any]]:
        asked, tokenizer = self.config, self._tokenizer()
        learner: nn.Module = network
        if asked.distil_to and not asked.from_scratch:
            how = Distilling(asked.temperature, asked.data, asked.transfer)
            learner = Distilled(network, teacher_of(self.before.prior), how)
        store, held_out = (self.run.codes(tokenizer, split) for split in ("train", "held_out"))
        batches = CodeBatches(store, batch, **self.shares)
        return self._task(learner), batches, validation_codes(held_out, batch)

    def trained(self, task: Task) -> Prior:
        prior = task.prior.student if isinstance(task.prior, Distilled) else task.prior
        if self.config.quantise:
            quantise(prior, self.config.quantise, self.config.activations)
        elif self.config.prune:
            leave_zeros_out(prior)
        return prior

    def _task(self, prior: nn.Module) -> PriorTask:
        return PriorTask(prior, self.before.order, grid_of(self.before.tokenizer, self.before.size))

    def _losses(self, prior: Prior) -> list[Loss]:
        count, size = MEASURED
        batches = CodeBatches(self.run.codes(self._tokenizer(), "train"), size, seed=self.seed)
        task = self._task(prior)
        return [lambda i=i: task.validate(batches.at(i))["loss"] for i in range(count)]

    def _student(self, teacher: Prior, log: Log) -> Prior:
        """A fresh prior of the mixers asked for, with what fits of the teacher."""
        config, names = self.config, list(self.config.distil_to)
        known = {option for name in names for option in options_of(MIXERS[name])}
        changes = {
            "mixer": names,
            "mixer_options": {k: v for k, v in teacher.config.mixer_options.items() if k in known},
            "depth": len(names),
            "width": config.width or teacher.config.width,
        }
        student = self._fresh(dataclasses.replace(teacher.config, **changes))
        refuse_other_kinds(teacher, student)
        if not config.from_scratch:
            copied = inherit(student, teacher)
            log.say(f"{len(copied)} of {len(student.state_dict())} tensors are the large prior's at first")
        return student

    def _fresh(self, config: PriorConfig) -> Prior:
        before = self.before
        text = before.prior.alphabet.text
        return build_prior(config, before.tokenizer, before.size, len(before.classes), text)[0]

    def _tokenizer(self) -> Tokenizer:
        return load_tokenizer(self.path)[0]
