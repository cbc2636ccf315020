"""`caselli compare mixers`: tasks learnt by mixers of equal parameters and equal state, and their costs."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

from caselli.compare.base import Comparison, Table, chosen, free, panels
from caselli.compare.learning import Budget, accuracy, learn
from caselli.compare.sequence_model import Size, cost, is_causal
from caselli.compare.tasks import NOTHING, TASKS, ByteText, SequenceTask
from caselli.data import generator
from caselli.figures import cell, figure
from caselli.layer import count_parameters
from caselli.mixer import MIXERS
from caselli.report import INK, dress, logarithmic

COST_LENGTHS = (64, 256, 1024)
"""Lengths at which time, memory and state are measured."""
COSTS = {
    "time": ("µs a token, forward and backward", 1e6),
    "memory": ("kB a token kept for the backward pass", 1e-3),
    "state": ("kB of state after T tokens", 1e-3),
}
"""Name of a cost → its title and scale."""
SHOWN = (
    *("attention", "linear", "retention", "gla", "mamba", "mamba2", "delta_net", "gated_delta_net"),
    *("rwkv7", "s4"),
)
"""Compared by default: one or two of each family."""
COLOURS = ("#2f6f9f", "#c8553d", "#5b8e55", "#8a5a9e", "#b98b2f", "#4a9d9c", "#a2456f", "#6b6b67")
STYLES = ("-", "--", ":")
GUESS = {"color": INK, "linewidth": 0.8, "linestyle": (0, (1, 3))}
"""Look of mixers in turn, and of the line at the guess."""


@dataclasses.dataclass(frozen=True)
class Settings(Size, Budget):
    """The models, and the budget of each on a task; minutes are those of all learning together."""

    tasks: tuple[str, ...] = free(("all",))
    """Names with commas between."""
    mixers: tuple[str, ...] = free(SHOWN)
    """Names with commas between, a+b for a hybrid, a:option=value for one with options, or all."""
    text: str | None = None
    """A file for byte_text; Python's reference by default."""
    jobs: int | None = free(None)
    """Processes that learn at the same time; one a core by default."""

    def __post_init__(self) -> None:
        Size.__post_init__(self)
        Budget.__post_init__(self)


@dataclasses.dataclass(frozen=True)
class Row:
    """Accuracy of one mixer on a task, or one of its costs, over lengths."""

    measure: str = figure("measured")
    """A name in `TASKS` (share of right answers), or in `COSTS`: seconds of a token forward and backward,
    bytes of a token kept for the backward pass, bytes of state."""
    mixer: str = figure("mixer")
    lengths: tuple[int, ...]
    """T of the sequences of each value."""
    values: tuple[float, ...]
    """The measure at these lengths."""
    length: int | None = None
    """T of the longest sequences that are learnt from."""
    guess: float | None = None
    """Share of right answers of always giving the most frequent one."""
    parameters: int | None = None
    """Number of parameters of the model."""
    rate: float | None = None
    """Learning rate that was chosen."""
    steps: int | None = None
    """Steps until the budget was spent or the task solved."""


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
        for mixer in mixers:  # a mixer that is not causal is built for the lengths of a task alone
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
        measured = cache(partial(cost, size=self.settings, device=self.settings.device))
        for name, mixer, task, lengths in subjects:
            found = [measured(mixer, task, length=T) for T in lengths]
            field = "seconds" if name == "time" else name
            yield Row(name, mixer, lengths, tuple(float(getattr(one, field)) for one in found))

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """A line for each mixer: right answers at the learnt length, and the costs.

        A task that is tested far beyond its length has a column at four times the length too.
        """
        tasks = {row.measure: row for row in rows if row.length is not None}
        asked = [(name, T) for name, row in tasks.items() for T in _shown(row)]
        short, long = COST_LENGTHS[0], COST_LENGTHS[-1]
        head = [f"{name.replace('_', ' ')}, T = {T}" for name, T in asked]
        head += [f"µs a token, T = {long:,}", f"kB a token kept, T = {long:,}"]
        head += [f"state, kB, T = {length:,}" for length in (short, long)]
        lines = [["guessing", "", *(f"{tasks[name].guess:.1%}" for name, _ in asked), *[""] * 4]]
        for mixer in dict.fromkeys(row.mixer for row in rows):
            own = {row.measure: row for row in rows if row.mixer == mixer}
            parameters = [row.parameters for row in own.values() if row.parameters is not None]
            shares = [cell(at(own.get(name), T), ".1%") for name, T in asked]
            places = (("time", long), ("memory", long), ("state", short), ("state", long))
            costs = [cell(at(own.get(name), T, COSTS[name][1]), ".1f") for name, T in places]
            lines.append([mixer, cell(next(iter(parameters), ""), ","), *shares, *costs])
        return [Table(["mixer", "parameters", *head], lines)]

    def plot(self, rows: Sequence[Row]) -> Any:
        """Accuracy against length for each task, then time, memory and state."""
        mixers = list(dict.fromkeys(row.mixer for row in rows))
        tasks = list(dict.fromkeys(row.measure for row in rows if row.length is not None))
        lines = math.ceil(len(tasks) / 3) + 1
        drawing, grid = panels(11, 2.7 * lines + 0.6, lines, 3)
        for axes in grid.flat[len(tasks) : (lines - 1) * 3]:
            axes.set_axis_off()
        for task, axes in zip(tasks, grid.flat, strict=False):
            own = [row for row in rows if row.measure == task]
            (_curves if len(own[0].lengths) > 1 else _bars)(axes, own, mixers)
            words = "T" if len(own[0].lengths) > 1 else ""
            dress(axes, f"{task.replace('_', ' ')}: right, %", words, grid="both")
        for (name, (words, scale)), axes in zip(COSTS.items(), grid[-1], strict=True):
            own = [row for row in rows if row.measure == name]
            _lines(axes, own, mixers, scale)
            logarithmic(axes)
            dress(axes, words, "T", grid="both")
        style = {"ncols": 6, "frameon": False, "fontsize": 9, "labelcolor": INK}
        drawing.legend(*grid[-1, 0].get_legend_handles_labels(), loc="outside lower center", **style)
        return drawing


def _bars(axes: Any, rows: Sequence[Row], mixers: list[str]) -> None:
    """Accuracies of a task with one length."""
    shares = [100 * row.values[0] for row in rows]
    colours = [_style(row, mixers)["color"] for row in rows]
    axes.barh([row.mixer for row in rows], shares, color=colours, height=0.65)
    axes.invert_yaxis()
    axes.set_xlim(0, 103)
    axes.axvline(100 * rows[0].guess, **GUESS)


def _curves(axes: Any, rows: Sequence[Row], mixers: list[str]) -> None:
    """Accuracies against length, with lines at the length learnt and at the guess."""
    _lines(axes, rows, mixers, 100)
    axes.axvline(rows[0].length, color=INK, linewidth=0.8, alpha=0.5)
    axes.axhline(100 * rows[0].guess, **GUESS)
    axes.set_ylim(0, 103)


def _lines(axes: Any, rows: Sequence[Row], mixers: list[str], scale: float) -> None:
    for row in rows:
        axes.plot(row.lengths, [scale * v for v in row.values], label=row.mixer, **_style(row, mixers))
    lengths = sorted({length for row in rows for length in row.lengths})
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.minorticks_off()


def _shown(row: Row) -> tuple[int, ...]:
    """Lengths of a task that the table shows."""
    far = max(row.lengths) > 4 * row.length
    return (row.length, 4 * row.length) if far else (row.length,)


def _style(row: Row, mixers: list[str]) -> dict[str, Any]:
    number = mixers.index(row.mixer)
    line = STYLES[number // len(COLOURS) % len(STYLES)]
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": line, "linewidth": 1.4, "marker": "."}


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
