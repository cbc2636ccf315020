"""`caselli compare mixers`: tasks learnt by mixers of equal parameters and equal state, and their costs."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from caselli.compare.base import Comparison, Table, chosen, free
from caselli.compare.learning import Budget, accuracy, learn
from caselli.compare.mixer_cost import cost
from caselli.compare.mixers_plot import panels
from caselli.compare.sequence_model import Size, is_causal
from caselli.compare.tasks import NOTHING, TASKS, ByteText, SequenceTask
from caselli.data import generator
from caselli.figures import cell, figure
from caselli.layer import count_parameters
from caselli.mixer import MIXERS

COST_LENGTHS = (64, 256, 1024)
"""Lengths at which time, memory and state are measured."""
COSTS = ("time", "memory", "state")
SHOWN = (
    *("attention", "linear", "retention", "gla", "mamba", "mamba2", "delta_net", "gated_delta_net"),
    *("rwkv7", "s4"),
)
"""Compared by default: one or two of each family."""


@dataclasses.dataclass(frozen=True)
class Settings(Size, Budget):
    """The models, and what each may spend on a task; the minutes are those of all learning together."""

    tasks: tuple[str, ...] = free(("all",))
    """Names with commas between."""
    mixers: tuple[str, ...] = free(SHOWN)
    """Names with commas between, a+b for a hybrid, or all."""
    text: str | None = None
    """A file for byte_text; Python's reference by default."""
    jobs: int | None = free(None)
    """Processes that learn at the same time; one a core by default."""

    def __post_init__(self) -> None:
        Size.__post_init__(self)
        Budget.__post_init__(self)


@dataclasses.dataclass(frozen=True)
class Row:
    """One mixer at a task, or one of its costs, over lengths."""

    measure: str = figure("measured")
    """A name in `TASKS` (share of right answers), or in `COSTS`: seconds of a token forward and backward,
    bytes of a token kept for the backward pass, bytes of state."""
    mixer: str = figure("mixer")
    lengths: tuple[int, ...]
    """T: of the held-out sequences, or of those that the cost is measured with."""
    values: tuple[float, ...]
    """The measure at these lengths."""
    length: int | None = None
    """T of the longest sequences that are learnt from."""
    guess: float | None = None
    """Share of right answers of someone who always gives the most frequent one."""
    parameters: int | None = None
    """Numbers learnt."""
    rate: float | None = None
    """Learning rate that was chosen."""
    steps: int | None = None
    """Steps until the budget was spent or nothing was left to learn."""


class Mixers(Comparison):
    """Tasks learnt by mixers of equal parameters, and of equal states where a mixer can have it."""

    Settings, Row = Settings, Row

    def subjects(self) -> dict[str, Any]:
        mixers = list(MIXERS) if self.settings.mixers == ("all",) else self.settings.mixers
        causal = {mixer: is_causal(mixer) for mixer in mixers}
        self.tasks = {name: self._task(name) for name in chosen(self.settings.tasks, TASKS, "task")}
        first = next(iter(self.tasks.values()))
        self.budget = self.settings.shared_by(len(mixers) * len(self.tasks))
        found: dict[str, Any] = {}
        for mixer in mixers:  # one that is not causal is built for the lengths of a task alone
            lengths = tuple(T for T in COST_LENGTHS if causal[mixer] or max(first.lengths) >= T)
            found |= {f"{name} of {mixer}": (name, mixer, first, lengths) for name in COSTS}
        for name, task in self.tasks.items():
            able = [mixer for mixer in mixers if causal[mixer] or not task.causal_only]
            found |= {f"{name}, {mixer}": (name, mixer, task, task.lengths) for mixer in able}
        return found

    def agreed(self) -> dict[str, Any]:
        return super().agreed() | {"minutes": self.budget.minutes}

    def _task(self, name: str) -> SequenceTask:
        given = name == "byte_text" and self.settings.text
        return ByteText(self.settings.text) if given else TASKS[name]()

    def rows(self, subjects: Mapping[str, Any], folder: Path) -> Iterator[Row]:
        costs = [subject for subject in subjects.values() if subject[0] in COSTS]
        rest = [
            (*subject, self.settings, self.budget) for subject in subjects.values() if subject not in costs
        ]
        yield from self._costs(costs)
        jobs = self.settings.jobs or (torch.get_num_threads() if self.settings.device == "cpu" else 1)
        if jobs == 1 or len(rest) < 2:
            yield from (learnt(*one) for one in rest)
            return
        # processes are begun afresh, since a fork of one with threads may hang
        begin = {"mp_context": multiprocessing.get_context("spawn"), "initializer": torch.set_num_threads}
        with ProcessPoolExecutor(min(jobs, len(rest)), initargs=(1,), **begin) as pool:
            yield from pool.map(learnt, *zip(*rest, strict=True))

    def _costs(self, subjects: Sequence[tuple]) -> Iterator[Row]:
        found: dict[tuple[str, int], Any] = {}
        for name, mixer, task, lengths in subjects:
            for T in lengths:
                if (mixer, T) not in found:
                    found[mixer, T] = cost(mixer, task, self.settings, T, device=self.settings.device)
            field = "seconds" if name == "time" else name
            yield Row(name, mixer, lengths, tuple(float(getattr(found[mixer, T], field)) for T in lengths))

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """A line for each mixer: right answers at the learnt length, and the costs."""
        tasks = {row.measure: row for row in rows if row.length is not None}
        short, long = COST_LENGTHS[0], COST_LENGTHS[-1]
        head = [f"{name.replace('_', ' ')}, T = {row.length}" for name, row in tasks.items()]
        head += [f"µs a token, T = {long:,}", f"kB a token kept, T = {long:,}"]
        head += [f"state, kB, T = {length:,}" for length in (short, long)]
        lines = [["guessing", "", *(f"{row.guess:.1%}" for row in tasks.values()), *[""] * 4]]
        for mixer in dict.fromkeys(row.mixer for row in rows):
            own = {row.measure: row for row in rows if row.mixer == mixer}
            parameters = [row.parameters for row in own.values() if row.parameters is not None]
            shares = [cell(at(own.get(name), row.length), ".1%") for name, row in tasks.items()]
            scales = (
                ("time", long, 1e6),
                ("memory", long, 1e-3),
                ("state", short, 1e-3),
                ("state", long, 1e-3),
            )
            costs = [cell(at(own.get(name), T, scale), ".1f") for name, T, scale in scales]
            lines.append([mixer, cell(next(iter(parameters), ""), ","), *shares, *costs])
        return [Table(["mixer", "parameters", *head], lines)]

    def plot(self, rows: Sequence[Row]) -> Any:
        return panels(rows)


def at(row: Row | None, length: int, scale: float = 1.0) -> float | None:
    """A measure at a length; None where it was not measured."""
    if row is None or length not in row.lengths:
        return None
    return row.values[row.lengths.index(length)] * scale


def learnt(
    name: str, mixer: str, task: SequenceTask, lengths: tuple[int, ...], size: Size, budget: Budget
) -> Row:
    """One task learnt by one mixer, tested at all its lengths."""
    learner = learn(mixer, task, size, budget)
    return Row(
        measure=name,
        mixer=mixer,
        lengths=lengths,
        values=tuple(accuracy(learner, length) for length in lengths),
        length=task.length,
        guess=guess(task),
        parameters=count_parameters(learner.learning.model),
        rate=learner.rate,
        steps=learner.fit.step,
    )


def guess(task: SequenceTask, count: int = 256) -> float:
    """Share of the most frequent answer.

    Example:
        >>> round(guess(TASKS["induction_heads"](symbols=2)), 1)
        0.5
    """
    answers = task.examples(count, generator("guess"), split="held_out").answers
    counts = torch.bincount(answers[answers != NOTHING])
    return (counts.max() / counts.sum()).item()
