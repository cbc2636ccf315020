"""The picture of a comparison: accuracy against length for each task, then time, memory and state."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

from caselli.evaluate.mixers.cost import Cost
from caselli.evaluate.mixers.results import Comparison

COLOURS = ("#2f6f9f", "#c8553d", "#5b8e55", "#8a5a9e", "#b98b2f", "#4a9d9c", "#a2456f", "#6b6b67")
STYLES = ("-", "--", ":")
INK, FAINT = "#3c3c3c", "#e4e4e0"
COSTS: dict[str, Callable[[Cost], float]] = {
    "µs a token, forward and backward": lambda cost: cost.seconds * 1e6,
    "kB a token kept for the backward pass": lambda cost: cost.memory / 1000,
    "kB of state after T tokens": lambda cost: cost.state / 1000,
}


def picture(comparison: Comparison) -> bytes:
    """All panels and one legend, as PNG."""
    from matplotlib.figure import Figure  # loads slowly

    tasks = [task for task in comparison.learnt_at if any(s.task == task for s in comparison.scores)]
    rows = math.ceil(len(tasks) / 3) + 1
    figure = Figure(figsize=(11, 2.7 * rows + 0.6), layout="constrained", facecolor="white")
    grid = figure.subplots(rows, 3, squeeze=False)
    for axes in grid.flat[len(tasks) : (rows - 1) * 3]:
        axes.set_axis_off()
    for task, axes in zip(tasks, grid.flat, strict=False):
        _accuracy(axes, comparison, task)
    for (words, value), axes in zip(COSTS.items(), grid[-1], strict=True):
        _cost(axes, comparison, words, value)
    handles, names = grid[-1, 0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=6, frameon=False, fontsize=9, labelcolor=INK
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _accuracy(axes: Any, comparison: Comparison, task: str) -> None:
    learnt = comparison.learnt_at[task]
    scores = [(number, comparison.score(task, mixer)) for number, mixer in enumerate(comparison.mixers)]
    found = [(number, score) for number, score in scores if score is not None]
    if len(found[0][1].lengths) == 1:
        _bars(axes, found)
    else:
        for number, score in found:
            axes.plot(score.lengths, [100 * right for right in score.right], marker=".", **_style(number))
        axes.axvline(learnt, color=INK, linewidth=0.8, alpha=0.5)
        _lengths(axes, found[0][1].lengths)
        axes.set_ylim(0, 103)
    guessing = 100 * comparison.guessing[task]
    line = axes.axvline if len(found[0][1].lengths) == 1 else axes.axhline
    line(guessing, color=INK, linewidth=0.8, linestyle=(0, (1, 3)))
    _dress(axes, f"{task.replace('_', ' ')}: right, %")


def _bars(axes: Any, found: list) -> None:
    """A task of one length."""
    right = [100 * score.right[0] for _, score in found]
    colours = [COLOURS[number % len(COLOURS)] for number, _ in found]
    axes.barh([score.mixer for _, score in found], right, color=colours, height=0.65)
    axes.invert_yaxis()
    axes.set_xlim(0, 103)


def _cost(axes: Any, comparison: Comparison, words: str, value: Callable[[Cost], float]) -> None:
    for number, mixer in enumerate(comparison.mixers):
        costs = comparison.costs_of(mixer)
        lengths = [cost.length for cost in costs]
        axes.plot(lengths, [value(cost) for cost in costs], marker=".", label=mixer, **_style(number))
    _lengths(axes, sorted({cost.length for cost in comparison.costs}))
    _logarithmic(axes)
    _dress(axes, words)


def _style(number: int) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": STYLES[number // len(COLOURS) % len(STYLES)],
        "linewidth": 1.4,
    }


def _lengths(axes: Any, lengths: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.minorticks_off()
    axes.set_xlabel("T", fontsize=9, color=INK)


def _logarithmic(axes: Any) -> None:
    """With plain numbers, and enough of them where the values lie close together."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _dress(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8, length=0)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
