"""The one training loop: any task, any budget, stopped at any moment and resumed bit-equal."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.nn.parallel import DistributedDataParallel

from caselli import ranks
from caselli.engine.batch import pieces, to_device
from caselli.engine.checkpoint import Checkpoints
from caselli.engine.config import TrainingConfig
from caselli.engine.ema import Ema
from caselli.engine.log import Log
from caselli.engine.machine import Machine
from caselli.engine.optimiser import Optimiser, learning_rate_factor
from caselli.engine.progress import Bar, Recent
from caselli.engine.signals import on_signals
from caselli.engine.task import Task
from caselli.errors import UserError


class Batches(Protocol):
    """Batches whose order is a function of seed and step: `stream(start)` gives those from `start` on."""

    def stream(self, start: int = 0) -> Iterator[Any]: ...


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
        validation: held-out batches, gone through `config.validations` times.
        config: budget and optimiser.
        folder: run folder; checkpoints go to `folder/checkpoints/stage`.
        stage: the stage's name in log and folder.
        machine: device and precision.
        seed: of everything random.
    """

    def __init__(
        self,
        task: Task,
        batches: Batches,
        validation: Iterable[Any],
        config: TrainingConfig,
        folder: Path,
        stage: str,
        machine: Machine,
        seed: int = 0,
    ) -> None:
        self.task = task.to(machine.device)
        self.batches, self.validation, self.config = batches, validation, config
        self.machine, self.seed, self.stage = machine, seed, stage
        self.log = Log(folder, stage)
        self.checkpoints = Checkpoints(folder / "checkpoints" / stage)
        self.optimiser = Optimiser(self.task, config)
        self.ema = Ema(self.task, config.ema)
        self.step, self.seconds, self.best, self.validated = 0, 0.0, math.inf, 0
        self.loss, self.rate = torch.zeros(()), 0.0
        self.stopping = False

    def run(self) -> Task:
        """Trains to the end of the budget; returns the best averaged task."""
        self._resume()
        with torch.random.fork_rng(), on_signals(self._stop):
            if self._progress() < 1:
                self._train()
        return self._best_task()

    # one step -----------------------------------------------------------------------------------------------

    def _train(self) -> None:
        model = self._parallel_model()
        self.clock = time.perf_counter() - self.seconds
        self.saved_at, self.saved_step = time.perf_counter(), self.step
        bar = Bar(self.stage, self._progress())
        recent = Recent()
        for batch in self.batches.stream(self.step):
            metrics = self._update(model, to_device(batch, self.machine.device))
            recent.add(metrics, len(batch.indices) * ranks.count())
            self._tick()
            done = self._progress() >= 1
            if self.step % 10 == 0 or done:
                self._check()
                self._report(recent, bar)
                self._advise()
            if done or self._progress() * self.config.validations >= self.validated + 1:
                self._validate()
            if done or self.stopping or self._is_time_to_save():
                self._save()
            if done or self.stopping:
                break
        bar.close()
        if self.stopping and not done:
            raise Interrupted(f"stopped at step {self.step} of the {self.stage}; a checkpoint is written")

    def _update(self, model: torch.nn.Module, batch: Any) -> dict[str, torch.Tensor]:
        config = self.config
        self.task.train()
        torch.manual_seed(_seed(self.seed, self.step, ranks.rank()))
        self.task.progress = min(1.0, self._progress())
        factor = learning_rate_factor(config, self.step, self.task.progress)
        self.rate = config.learning_rate * factor
        self.optimiser.zero_grad()
        for number, piece in enumerate(pieces(batch, config.accumulate)):
            last = number == config.accumulate - 1
            with nullcontext() if last or ranks.count() == 1 else model.no_sync():
                with self.machine.autocast():
                    losses = model(piece, self.step)
                (losses.total / config.accumulate).backward()
        norms = self.optimiser.clip(config.clip) if config.clip else {}
        self.optimiser.step(factor)
        self.step += 1
        self.ema.update(self.task, self.step)
        self.loss = losses.total.detach()
        return {"loss": self.loss, **losses.metrics, **norms}

    def _parallel_model(self) -> torch.nn.Module:
        if ranks.count() == 1:
            return self.task
        return DistributedDataParallel(self.task, broadcast_buffers=False)

    # time ---------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = torch.tensor([time.perf_counter() - self.clock, float(self.stopping)], dtype=torch.float64)
        if self.config.minutes or ranks.count() > 1:
            now = ranks.from_first(now)
        self.seconds, self.stopping = now[0].item(), bool(now[1].item())

    def _progress(self) -> float:
        if self.config.minutes:
            return self.seconds / (60 * self.config.minutes)
        return self.step / self.config.steps

    def _is_time_to_save(self) -> bool:
        every = self.config.checkpoint_steps
        due = time.perf_counter() - self.saved_at > self.config.checkpoint_seconds
        return (every and self.step - self.saved_step >= every) or due

    def _stop(self) -> None:
        self.stopping = True

    # words --------------------------------------------------------------------------------------------------

    def _report(self, recent: Recent, bar: Bar) -> None:
        values = recent.take()
        values["learning_rate"] = self.rate
        self.log.figures("train", self.step, self.seconds, values)
        bar.show(self.step, self._progress(), values)

    def _advise(self) -> None:
        for sentence in self.task.advise():
            self.log.say(sentence, self.step)

    @torch.no_grad()
    def _validate(self) -> None:
        self.validated = max(self.validated + 1, int(self._progress() * self.config.validations))
        task = self.ema.module
        figures = Recent()
        for batch in self.validation:
            with self.machine.autocast():
                figures.add(task.validate(to_device(batch, self.machine.device)), len(batch.indices))
        values = figures.take(rate=False) | task.finish()
        self.log.figures("validation", self.step, self.seconds, values)
        if values and (self.task.keeps_last or values["loss"] < self.best):
            self.best = min(self.best, values["loss"])
            if ranks.is_first():
                self.checkpoints.save_best({"task": task.state_dict(), "step": self.step})

    # checkpoints --------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if not math.isfinite(self.loss.item()):
            raise UserError(
                f"the {self.stage}'s loss is {self.loss.item()} at step {self.step}",
                "a finite number was expected",
                "the last checkpoint is from before; resume with a lower learning rate or in float32",
            )

    def _save(self) -> None:
        self._check()
        if ranks.is_first():
            state = {
                "task": self.task.state_dict(),
                "ema": self.ema.module.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
                "best": self.best,
                "validated": self.validated,
            }
            self.checkpoints.save(state)
        self.saved_at, self.saved_step = time.perf_counter(), self.step

    def _resume(self) -> None:
        state, words = self.checkpoints.load()
        for word in words:
            self.log.say(word)
        if state is None:
            return
        self.task.load_state_dict(state["task"])
        self.ema.module.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        for name in ("step", "seconds", "best", "validated"):
            setattr(self, name, state[name])
        self.log.rewind(self.step)
        if self._progress() < 1:
            self.log.say(f"resuming at step {self.step}", self.step)

    def _best_task(self) -> Task:
        ranks.wait()
        best = self.checkpoints.load_best()
        if best is not None:
            self.ema.module.load_state_dict(best["task"])
        return self.ema.module


def _seed(seed: int, step: int, rank: int) -> int:
    """A seed of its own for every step and rank."""
    return ((seed * 1_000_003 + step) * 65_537 + rank) % (1 << 63)
