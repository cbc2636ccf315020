"""Curves and bars, drawn without any global state; matplotlib is imported when something is drawn."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

PALETTE = ("#2f6f9f", "#c8553d", "#5b8e55", "#8a5a9e", "#b98b2f", "#4a9d9c")
INK, FAINT = "#3c3c3c", "#e4e4e0"
POINTS = 300
"""A curve is drawn with about this many points; each is the mean of a run of neighbours."""

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""Name of a curve → (xs, ys)."""


def curves(
    series: Series,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    log_y: bool = False,
    from_zero: bool = False,
) -> bytes:
    """Curves over a common axis, as SVG.

    Points that are not finite are left out (and, on a logarithmic axis, those not above zero); many points
    are averaged in runs, so that a long training run stays a small picture.

    Arguments:
        series: name → (xs, ys); a name that begins with "validation" is drawn with points.
        title, x_label, y_label: words.
        log_y: a logarithmic vertical axis.
        from_zero: a vertical axis that begins at zero, for rates and shares.

    Example:
        >>> curves({"train": ([0, 1, 2], [3.0, 2.0, 1.5])}, y_label="loss").startswith(b"<?xml")
        True
    """
    figure, axes = _figure(title, x_label, y_label)
    shown = 0
    for (name, (xs, ys)), colour in zip(series.items(), _colours(len(series)), strict=True):
        xs, ys = thin(xs, ys, positive=log_y)
        sparse = name.startswith("validation")
        style = {"marker": "o", "markersize": 3.2, "linewidth": 1.1} if sparse else {"linewidth": 1.6}
        if not sparse and len(xs) == 1:
            style["marker"] = "o"
        axes.plot(xs, ys, color=colour, label=name, solid_capstyle="round", **style)
        shown += bool(xs)
    if log_y and shown:
        logarithmic(axes)
    elif from_zero and shown:
        axes.set_ylim(0, 1.08 * max(axes.get_ylim()[1], 1e-9))
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, handlelength=1.4)
    return _svg(figure)


def sorted_counts(counts: Sequence[Sequence[float]], title: str = "") -> bytes:
    """Counts of the codes, most frequent first, on a logarithmic axis: one curve a codebook, as SVG.

    Beside it the level of even use, dashed. Codes that never occurred have no height.

    Arguments:
        counts: for each codebook, its K counts in any order.

    Example:
        >>> sorted_counts([[5, 0, 2, 9]]).startswith(b"<?xml")
        True
    """
    figure, axes = _figure(title, "codes, most frequent first", "share of all codes")
    for row, colour in zip(counts, _colours(len(counts)), strict=True):
        total = max(math.fsum(row), 1)
        shares = [count / total for count in sorted(row, reverse=True) if count > 0]
        xs, ys = thin(range(1, len(shares) + 1), shares, positive=True)
        if len(counts) == 1:
            axes.fill_between(xs, ys, color=colour, alpha=0.2, linewidth=0)
        axes.plot(xs, ys, color=colour, linewidth=1.4)
        axes.axhline(1 / max(len(row), 1), color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
    sizes = [len(row) for row in counts]
    axes.set_xlim(0, max([*sizes, 2]))
    if any(count > 0 for row in counts for count in row):
        logarithmic(axes)
    return _svg(figure)


def thin(
    xs: Sequence[float], ys: Sequence[float], positive: bool = False, points: int = POINTS
) -> tuple[list[float], list[float]]:
    """At most about `points` points, each the mean of a run of neighbours; what is not finite is left out.

    Example:
        >>> thin([0, 1, 2, 3], [1.0, 3.0, float("nan"), 5.0], points=2)
        ([0.5, 3.0], [2.0, 5.0])
    """
    kept = [
        (float(x), float(y))
        for x, y in zip(xs, ys, strict=True)
        if math.isfinite(x) and math.isfinite(y) and (y > 0 or not positive)
    ]
    run = max(1, math.ceil(len(kept) / points))
    runs = [kept[start : start + run] for start in range(0, len(kept), run)]
    return [_mean(part, 0) for part in runs], [_mean(part, 1) for part in runs]


def _mean(part: list[tuple[float, float]], axis: int) -> float:
    return math.fsum(point[axis] for point in part) / len(part)


def _colours(count: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def _figure(title: str, x_label: str, y_label: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.2), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    dress(axes, title, x_label, y_label)
    return figure, axes


def dress(axes: Any, title: str, x_label: str = "", y_label: str = "", grid: str = "y") -> None:
    """Gives axes the look of all plots: words, faint lines, no frame.

    Arguments:
        axes: matplotlib's.
        title, x_label, y_label: words.
        grid: lines for the values of this axis, x, y or both.
    """
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(x_label, fontsize=9, color=INK)
    axes.set_ylabel(y_label, fontsize=9, color=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#b8b8b4")
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.grid(axis=grid, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)


def logarithmic(axes: Any) -> None:
    """A logarithmic axis with plain numbers: also where the data stay within one power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = math.log10(high / low) if low > 0 else 1
    marks = (1, 2, 5) if decades < 3 else (1,)
    if decades < 1.2:
        marks = (1, 1.5, 2, 3, 5, 7) if decades > 0.6 else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    axes.yaxis.set_major_locator(LogLocator(subs=marks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", length=0)


def _svg(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
