"""The training loop itself: a task, its batches, a budget; no files, no log."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch

from caselli import ranks
from caselli.engine.batch import pieces, samples, to_device
from caselli.engine.compiling import compile_parts, in_float8
from caselli.engine.config import TrainingConfig
from caselli.engine.machine import CPU, Machine
from caselli.engine.optimiser import Optimiser, learning_rate_factor
from caselli.engine.sharding import gradients_of, parallel, placed, recompute
from caselli.engine.task import Task
from caselli.engine.threads import Threads, kept_threads
from caselli.shapes import Tensor


class BatchStream(Protocol):
    """Batches whose order is a function of seed and step: `stream(start)` gives those from `start` on."""

    def stream(self, start: int = 0) -> Iterator[Any]: ...


@dataclasses.dataclass(frozen=True)
class Generated:
    """Batches made by a function of the step.

    Example:
        >>> next(Generated(lambda step: torch.full((2,), step)).stream(5))
        tensor([5, 5])
    """

    make: Callable[[int], Any]
    """Number of the step, from 0 → its batch."""

    def stream(self, start: int = 0) -> Iterator[Any]:
        """The batches of the steps from `start` on."""
        return map(self.make, itertools.count(start))


class Fit:
    """A training on its way through its budget, which may pause after any step and go on.

    The random numbers of a step are a function of seed, step and rank; those outside are left alone.

    Arguments:
        task: what is trained, in place; moved to the machine's device.
        batches: training batches, tensors or records; each rank gives its own share.
        config: budget and optimiser. The average, the validations and the checkpoints are `Training`'s.
        machine: device and precision.
        seed: seed of the random numbers of every step.
    """

    def __init__(
        self, task: Task, batches: BatchStream, config: TrainingConfig, machine: Machine = CPU, seed: int = 0
    ) -> None:
        if config.float8:
            in_float8(task, machine)
        self.task = placed(task, config, machine)
        if config.recompute:
            recompute(self.task)
        self.batches, self.config, self.machine, self.seed = batches, config, machine, seed
        self.optimiser = Optimiser(self.task, config, machine.products)
        self.step, self.seconds = 0, 0.0
        self.samples, self.rate = 0, 0.0
        self.figures: dict[str, Tensor] = {}
        self.threads = torch.get_num_threads()
        """Threads that made the fastest steps, of those that were tried."""
        self.asked, self.stopping = False, False
        """True where this rank was asked to stop; and once all ranks have agreed to."""
        self.notes: list[str] = []
        """Sentences on what was measured at the start."""

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, 0 to 1 and a little more."""
        return self.config.spent(self.step, self.seconds)

    def run(self, until: Callable[[Fit], bool] = lambda fit: False) -> Fit:
        """Trains to the end of the budget, or to the first step after which `until` is true.

        `until` is asked after every step, and may look at `step`, `seconds`, `progress`, `rate` (learning
        rate), `figures` (loss, metrics and gradient norms of the step, averaged over accumulated pieces) and
        `samples` (number of this rank's samples in the step).
        """
        if self.progress >= 1:
            return self
        model, begin = parallel(self.task), time.perf_counter() - self.seconds
        with torch.random.fork_rng(), self._threads() as threads:
            for batch in self.batches.stream(self.step):
                batch = to_device(batch, self.machine.device)
                if self.config.compile and not self.notes:
                    self._compile(model, batch)
                before = time.perf_counter()
                self.figures = self.update(model, batch)
                threads.after(time.perf_counter() - before)
                if threads.next != torch.get_num_threads() and threads.most > 1:
                    torch.set_num_threads(threads.next)
                self._tick(begin)
                if until(self) or self.progress >= 1:
                    break
        return self

    def stop(self) -> None:
        """Asks for a stop: `stopping` becomes true on every rank at the end of the same step, where it is
        called on the first."""
        self.asked = True

    def update(self, model: torch.nn.Module, batch: Any) -> dict[str, Tensor]:
        """One step on a batch: its figures.

        Arguments:
            model: the task, or what shares it between ranks.
            batch: on the machine's device.
        """
        config = self.config
        self.task.train()
        torch.manual_seed(_seed(self.seed, self.step, ranks.rank()))
        self.task.progress = min(1.0, self.progress)
        factor = learning_rate_factor(config, self.step, self.task.progress)
        self.rate = config.learning_rate * factor
        self.optimiser.zero_grad()
        found = []
        for number, piece in enumerate(pieces(batch, config.accumulate)):
            with gradients_of(model, last=number == config.accumulate - 1):
                found.append(self._backward(model, piece))
        norms = self.optimiser.clip(config.clip) if config.clip else {}
        self.optimiser.step(factor)
        self.step += 1
        self.samples = samples(batch)
        return _mean(found) | norms

    def _backward(self, model: torch.nn.Module, piece: Any) -> dict[str, Tensor]:
        """Gradients of one piece of a batch: its figures."""
        with self.machine.autocast():
            losses = model(piece, self.step)
        (losses.total / self.config.accumulate).backward()
        return {"loss": losses.total.detach(), **losses.metrics}

    def _compile(self, model: torch.nn.Module, batch: Any) -> None:
        """Compiles the task's parts if that makes a step on this batch faster."""
        self.task.train()
        piece = pieces(batch, self.config.accumulate)[0]
        self.notes.append(compile_parts(self.task, lambda: self._backward(model, piece)))

    @contextlib.contextmanager
    def _threads(self) -> Iterator[Threads]:
        """The threads of the steps, which may change on a processor by the clock; all of them afterwards."""
        may_change = self.machine.device == "cpu" and self.config.minutes
        with kept_threads():
            threads = Threads(self.threads if may_change else 1)
            yield threads
        if may_change:
            self.threads = threads.count

    def _tick(self, begin: float) -> None:
        """The first rank's clock, and whether it was asked to stop, are everybody's."""
        now = torch.tensor([time.perf_counter() - begin, float(self.asked)], dtype=torch.float64)
        now = ranks.from_first(now)
        self.seconds, self.stopping = now[0].item(), bool(now[1].item())


def fit(
    task: Task,
    batches: BatchStream,
    config: TrainingConfig,
    *,
    machine: Machine = CPU,
    seed: int = 0,
    until: Callable[[Fit], bool] = lambda fit: False,
) -> Task:
    """The task, trained in place and left in evaluation mode.

    Arguments:
        task, batches, config, machine, seed: as `Fit` takes them.
        until: ends the training early; asked after every step.

    Example:
        >>> from caselli.engine import Losses
        >>> class Line(Task):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.slope = torch.nn.Parameter(torch.zeros(1))
        ...     def forward(self, x, step):
        ...         return Losses((self.slope * x - 3 * x).square().mean(), {})
        >>> batches = Generated(lambda step: torch.randn(8, generator=torch.Generator().manual_seed(step)))
        >>> config = TrainingConfig(steps=100, learning_rate=0.3, warmup=5)
        >>> round(fit(Line(), batches, config).slope.item(), 1)
        3.0
    """
    Fit(task, batches, config, machine, seed).run(until)
    return task.eval()


def _mean(found: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean over equal pieces of a batch, by name."""
    return {name: sum(one[name] for one in found) / len(found) for name in found[0]}


def _seed(seed: int, step: int, rank: int) -> int:
    """A seed of its own for every step and rank."""
    return ((seed * 1_000_003 + step) * 65_537 + rank) % (1 << 63)
