"""A run's prior made smaller."""

from __future__ import annotations

import copy
import dataclasses

from torch import nn

from caselli.data import Batches, CodeStore
from caselli.engine import Log, Task
from caselli.mixer import MIXERS
from caselli.model import build_prior, grid_of, load_tokenizer, save_prior
from caselli.plain import options_of
from caselli.prior import Prior, PriorConfig, PriorTask
from caselli.run.slim_stage import MEASURED, SlimStage, teacher_of, with_narrowed
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
from caselli.weights import UNCOMPRESSED, Compression, read_compression


class SlimPrior(SlimStage):
    """The prior quantised, pruned, or a small one distilled from it."""

    name, augments = "prior", False

    def compressed(self, log: Log) -> tuple[Prior, Compression]:
        prior, config = copy.deepcopy(self.before.prior), self.config
        if not config.covers("prior"):
            return prior, read_compression(self.old / "prior")
        if config.quantise:
            made = quantise(prior, config.quantise, config.activations)
        elif config.prune:
            self.prune(prior, self._losses(prior), log)
            made = leave_zeros_out(prior)
        else:
            prior, made = self._student(prior, log), UNCOMPRESSED
        return prior, with_narrowed(made, prior, self._fresh(prior.config))

    def save(self, network: Prior, compression: Compression) -> None:
        run = self.run
        fingerprint = self._tokenizer().fingerprint()
        save_prior(network, self.path, fingerprint, self.before.classes, compression)
        config = dataclasses.replace(run.config, prior=network.config)
        run.folder.write(run.name, config, run.data.fingerprint, run.machine)

    def held(self, network: Prior) -> nn.Module:
        return network

    def task(self, network: Prior) -> Task:
        asked, learner = self.config, network
        if asked.distil_to and not asked.from_scratch:
            how = Distilling(asked.temperature, asked.data, asked.transfer)
            learner = Distilled(network, teacher_of(self.before.prior), how)
        return self._task(learner)

    def sets(self) -> tuple[CodeStore, CodeStore]:
        tokenizer = self._tokenizer()
        return self.run.codes(tokenizer, "train"), self.run.codes(tokenizer, "held_out")

    def trained(self, task: PriorTask) -> Prior:
        return task.prior.student if isinstance(task.prior, Distilled) else task.prior

    def sparse(self, network: Prior, compression: Compression) -> Compression:
        return dataclasses.replace(compression, packed=leave_zeros_out(network).packed)

    def _task(self, prior: nn.Module) -> PriorTask:
        return PriorTask(prior, self.before.order, grid_of(self.before.tokenizer, self.before.size))

    def _losses(self, prior: Prior) -> list[Loss]:
        count, size = MEASURED
        batches = Batches(self.run.codes(self._tokenizer(), "train"), size, seed=self.seed)
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
