"""The plot of a comparison of mixers: accuracy against length for each task, then time, memory and state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from caselli.report import INK, dress, logarithmic

COLOURS = ("#2f6f9f", "#c8553d", "#5b8e55", "#8a5a9e", "#b98b2f", "#4a9d9c", "#a2456f", "#6b6b67")
STYLES = ("-", "--", ":")
COSTS = {
    "time": ("µs a token, forward and backward", 1e6),
    "memory": ("kB a token kept for the backward pass", 1e-3),
    "state": ("kB of state after T tokens", 1e-3),
}
"""Name of a cost → its words and scale."""


def panels(rows: Sequence[Any]) -> Any:
    """All panels, and one legend.

    Arguments:
        rows: as of `caselli.compare.mixers`.
    """
    from matplotlib.figure import Figure  # loads slowly

    mixers = list(dict.fromkeys(row.mixer for row in rows))
    tasks = list(dict.fromkeys(row.measure for row in rows if row.length is not None))
    lines = math.ceil(len(tasks) / 3) + 1
    drawing = Figure(figsize=(11, 2.7 * lines + 0.6), layout="constrained", facecolor="white")
    grid = drawing.subplots(lines, 3, squeeze=False)
    for axes in grid.flat[len(tasks) : (lines - 1) * 3]:
        axes.set_axis_off()
    for task, axes in zip(tasks, grid.flat, strict=False):
        own = [row for row in rows if row.measure == task]
        _accuracy(axes, own, mixers)
        dress(
            axes, f"{task.replace('_', ' ')}: right, %", "T" if len(own[0].lengths) > 1 else "", grid="both"
        )
    for (name, (words, scale)), axes in zip(COSTS.items(), grid[-1], strict=True):
        for row in (row for row in rows if row.measure == name):
            axes.plot(row.lengths, [scale * v for v in row.values], label=row.mixer, **_style(row, mixers))
        _lengths(axes, sorted({length for row in rows if row.measure == name for length in row.lengths}))
        logarithmic(axes)
        dress(axes, words, "T", grid="both")
    handles, names = grid[-1, 0].get_legend_handles_labels()
    drawing.legend(
        handles, names, loc="outside lower center", ncols=6, frameon=False, fontsize=9, labelcolor=INK
    )
    return drawing


def _accuracy(axes: Any, rows: Sequence[Any], mixers: list[str]) -> None:
    first, dotted = rows[0], {"color": INK, "linewidth": 0.8, "linestyle": (0, (1, 3))}
    if len(first.lengths) == 1:
        colours = [_style(row, mixers)["color"] for row in rows]
        axes.barh(
            [row.mixer for row in rows], [100 * row.values[0] for row in rows], color=colours, height=0.65
        )
        axes.invert_yaxis()
        axes.set_xlim(0, 103)
        axes.axvline(100 * first.guess, **dotted)
        return
    for row in rows:
        axes.plot(row.lengths, [100 * share for share in row.values], **_style(row, mixers))
    axes.axvline(first.length, color=INK, linewidth=0.8, alpha=0.5)
    axes.axhline(100 * first.guess, **dotted)
    _lengths(axes, first.lengths)
    axes.set_ylim(0, 103)


def _style(row: Any, mixers: list[str]) -> dict[str, Any]:
    number = mixers.index(row.mixer)
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": STYLES[number // len(COLOURS) % len(STYLES)],
        "linewidth": 1.4,
        "marker": ".",
    }


def _lengths(axes: Any, lengths: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.minorticks_off()
