"""A stage of a run: the one training loop with checkpoints, validations and a log, stopped at any moment and
resumed bit-equal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from caselli import ranks
from caselli.engine.batch import samples, to_device
from caselli.engine.checkpoint import Checkpoints
from caselli.engine.config import TrainingConfig
from caselli.engine.ema import Ema
from caselli.engine.fit import BatchStream, Fit
from caselli.engine.log import Log
from caselli.engine.machine import Machine
from caselli.engine.progress import Bar, Recent
from caselli.engine.sharding import is_sharded, load, placed, shell, whole
from caselli.engine.signals import on_signals
from caselli.engine.task import Task
from caselli.engine.tracker import Tracker
from caselli.engine.views import save_views
from caselli.errors import UserError
from caselli.private import tree_map

PROGRESS = "progress"
"""Folder of a run with the pictures of each validation."""


class Interrupted(Exception):
    """The user stopped the run; a checkpoint is written."""


class Training:
    """One stage of a run: `Training(...).run()` trains `task` to the end of its budget, from wherever its
    checkpoints in `folder` say it stands, and returns the averaged twin with the best validation loss (the
    last one, where the task `keeps_last`).

    The random numbers of a step are a function of seed, step and rank, and so is its batch: a run that was
    killed ends in the same bits as one that was not (with a budget in steps, on a CPU).

    Arguments:
        task: what is trained; moved to the machine's device.
        batches: training batches; each rank gives its own share.
        validation: held-out batches, gone through `config.validations` times, shared between the ranks.
        config: budget and optimiser.
        folder: run folder; checkpoints go to `folder/checkpoints/stage`.
        stage: the stage's name in log and folder.
        machine: device and precision.
        seed: seed of the random numbers of every step.
        trackers: what gets the figures beside the log.
        early: share of the budget after which the averaged twin is kept besides, see
            `Checkpoints.load_early`; 0 for not at all.
    """

    def __init__(
        self,
        task: Task,
        batches: BatchStream,
        validation: Sequence[Any],
        config: TrainingConfig,
        folder: Path,
        stage: str,
        machine: Machine,
        seed: int = 0,
        trackers: Sequence[Tracker] = (),
        early: float = 0.0,
    ) -> None:
        self.shell = shell(task) if is_sharded(task, config) else None
        self.ema = Ema(task, config.ema)  # while the weights are whole
        self.ema.module = placed(self.ema.module, config, machine)
        self.fit = Fit(task, batches, config, machine, seed)
        self.task, self.config, self.machine = self.fit.task, config, machine
        self.validation, self.stage = validation, stage
        self.folder, self.log, self.trackers = folder, Log(folder, stage), trackers
        self.checkpoints = Checkpoints(folder / "checkpoints" / stage)
        self.best, self.validated, self.noted = math.inf, 0, 0
        self.worse = 0
        """Validations since the best one."""
        self.early, self.moment = early, early
        """The share that was asked for, and the one at which the early twin is kept."""
        self.waits = early > 0
        """True until it has been kept."""

    def run(self) -> Task:
        """Trains to the end of the budget; returns the best averaged task."""
        self._resume()
        if self.fit.progress < 1 and not self._is_over():
            self._train()
        return self._best_task()

    def _train(self) -> None:
        self.saved_at, self.saved_step = self.fit.seconds, self.fit.step  # the clock of all ranks
        self.bar, self.recent = Bar(self.stage, self.fit.progress), Recent()
        with on_signals(self.fit.stop):
            self.fit.run(self._after_step)
        self.checkpoints.finish()
        self.bar.close()
        if self.fit.stopping and self.fit.progress < 1 and not self._is_over():
            raise Interrupted(f"stopped at step {self.fit.step} of the {self.stage}; a checkpoint is written")

    def _after_step(self, fit: Fit) -> bool:
        """Averages, reports, validates and saves; true where the user asks for a stop."""
        self.ema.update(self.task, fit.step)
        self.checkpoints.settle()
        if self.noted < len(fit.notes):
            self.log.say(fit.notes[self.noted], fit.step)
            self.noted += 1
        self.recent.add(fit.figures, fit.samples)
        done = fit.progress >= 1
        if fit.step % 10 == 0 or done:
            self._check()
            self._report()
            self._advise()
        if done or fit.progress * self.config.validations >= self.validated + 1:
            self._validate()
        if self.waits and fit.progress >= self.moment:
            self.checkpoints.save_early({"task": self.ema.module.state_dict(), "step": fit.step})
            self.waits = False
        if done or fit.stopping or self._is_over() or self._is_time_to_save():
            self._save()
        return fit.stopping or self._is_over()

    def _is_over(self) -> bool:
        """True where held-out loss has not become lower for as long as was asked."""
        return 0 < self.config.patience <= self.worse

    # words --------------------------------------------------------------------------------------------------

    def _report(self) -> None:
        values = self.recent.take()
        values["learning_rate"] = self.fit.rate
        self._record("train", values)
        self.bar.show(self.fit.step, self.fit.progress, values)

    def _record(self, split: str, values: dict[str, float]) -> None:
        for place in (self.log, *self.trackers):
            place.figures(split, self.fit.step, self.fit.seconds, values)

    def _advise(self) -> None:
        for sentence in self.task.advise():
            self.log.say(sentence, self.fit.step)

    @torch.no_grad()
    def _validate(self) -> None:
        self.validated = max(self.validated + 1, int(self.fit.progress * self.config.validations))
        task = self.ema.module
        figures = Recent()
        for batch in self._own_validation():
            with self.machine.autocast():
                figures.add(task.validate(to_device(batch, self.machine.device)), samples(batch))
        values = figures.take(rate=False) | task.finish()
        self._record("validation", values)
        self.worse = 0 if values and values["loss"] < self.best else self.worse + 1
        if self._is_over():
            self.log.say(f"no lower loss in {self.worse} validations: the training ends", self.fit.step)
        views = task.views()
        if views and ranks.is_first():
            save_views(views, self.folder / PROGRESS / f"{self.stage}-{self.fit.step:07}.png")
        if values and (self.task.keeps_last or values["loss"] < self.best):
            self.best = min(self.best, values["loss"])
            self.checkpoints.save_best({"task": task.state_dict(), "step": self.fit.step})

    def _own_validation(self) -> Sequence[Any]:
        """This rank's held-out batches; every rank's are all of them where there are fewer than ranks, or
        where weights are shared out and some ranks would have one more."""
        count = len(self.validation)
        if count < ranks.count() or (self.shell is not None and count % ranks.count()):
            # figures are means, so nothing changes; every rank has the names, and gathers layers as often
            return self.validation
        return self.validation[ranks.rank() :: ranks.count()]

    # checkpoints --------------------------------------------------------------------------------------------

    def _is_time_to_save(self) -> bool:
        every = self.config.checkpoint_steps
        due = self.fit.seconds - self.saved_at > self.config.checkpoint_seconds
        return (every and self.fit.step - self.saved_step >= every) or due

    def _check(self) -> None:
        loss = ranks.mean(self.fit.figures["loss"]).item()  # of all ranks: all stop, or none
        if not math.isfinite(loss):
            raise UserError(
                f"the {self.stage}'s loss is {loss} at step {self.fit.step}",
                "a finite number was expected",
                "the last checkpoint is from before; resume with a lower learning rate",
            )

    def _save(self) -> None:
        self._check()
        state = {
            "task": self.task.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimiser": self.fit.optimiser.state_dict(),
            "step": self.fit.step,
            "seconds": self.fit.seconds,
            "best": self.best,
            "worse": self.worse,
            "moment": self.moment,
        }
        self.checkpoints.save(state)
        self.saved_at, self.saved_step = self.fit.seconds, self.fit.step

    def _resume(self) -> None:
        layout = {
            "task": self.task.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimiser": dict(self.task.named_parameters()),
        }
        state, words = self.checkpoints.load(layout)
        for word in words:
            self.log.say(word)
        if state is None:
            return
        load(self.task, state["task"])
        load(self.ema.module, state["ema"])
        self.fit.optimiser.load_state_dict(state["optimiser"])
        self.fit.step, self.fit.seconds = state["step"], state["seconds"]
        self.validated = int(self.fit.progress * self.config.validations)  # of this budget, a longer one too
        self.worse = state.get("worse", 0)  # earlier versions did not count
        if self.checkpoints.load_best() is not None:
            self.best = state["best"]
        self.waits = self.waits and not self.checkpoints.has_early()
        self.moment = state.get("moment", self.early)
        if self.fit.progress >= self.moment:  # one over other codes was forgotten, or none asked for then
            self.moment = self.fit.progress + self.early * (1 - self.fit.progress)
        self.log.rewind(self.fit.step)
        if self.fit.progress < 1:
            end = self.config.end()
            self.log.say(f"resuming at step {self.fit.step}; the schedule ends at {end}", self.fit.step)

    def _best_task(self) -> Task:
        self.checkpoints.finish()
        best = self.checkpoints.load_best()
        if self.shell is not None:  # whole weights again, for whoever saves and looks
            state = best["task"] if best else tree_map(whole, dict(self.ema.module.state_dict()))
            self.shell.load_state_dict(state, assign=True)
            return self.shell.eval()
        if best is not None:
            self.ema.module.load_state_dict(best["task"])
        return self.ema.module
