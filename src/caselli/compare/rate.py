"""Rate against distortion: what each method costs, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from caselli.report import INK, PALETTE, dress

LINE = 0.055
"""Height of a label as a share of a panel's."""


def rate_distortion(rates: Mapping[str, float], panels: Mapping[str, Mapping[str, float]]) -> Any:
    """One panel a measure: every method's name at its bits per picture, on a logarithmic axis.

    Names at one rate are kept apart, a thin line leading to each one's point.

    Arguments:
        rates: method → bits per picture.
        panels: measure → method → its value.

    Example:
        >>> drawing = rate_distortion({"vq": 640, "fsq": 640}, {"PSNR (dB)": {"vq": 21.5, "fsq": 21.4}})
        >>> len(drawing.axes)
        1
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * len(panels), 4.2), layout="constrained", facecolor="white")
    every = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, values) in zip(every, panels.items(), strict=True):
        _panel(axes, title, rates, values)
    return figure


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """The heights moved so far apart that neighbours differ by `gap` at least, their mean kept.

    Example:
        >>> spread([1.0, 1.0, 5.0], 1.0)
        [0.5, 1.5, 5.0]
    """
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    groups: list[list[int]] = []  # runs that touch, each centred on its own mean
    for i in order:
        groups.append([i])
        while len(groups) > 1 and _bottom(groups[-1], heights, gap) - _top(groups[-2], heights, gap) < gap:
            last = groups.pop()
            groups[-1] += last
    moved = list(heights)
    for group in groups:
        for place, i in enumerate(group):
            moved[i] = _bottom(group, heights, gap) + place * gap
    return moved


def _bottom(group: list[int], heights: Sequence[float], gap: float) -> float:
    return sum(heights[i] for i in group) / len(group) - gap * (len(group) - 1) / 2


def _top(group: list[int], heights: Sequence[float], gap: float) -> float:
    return _bottom(group, heights, gap) + gap * (len(group) - 1)


def _panel(axes: Any, title: str, rates: Mapping[str, float], values: Mapping[str, float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    names = list(values)
    low, high = min(values.values()), max(values.values())
    gap = LINE * ((high - low) or 1.0) * 1.2
    columns = {rate: [name for name in names if rates[name] == rate] for rate in sorted({*rates.values()})}
    for number, (rate, column) in enumerate(columns.items()):
        colour = PALETTE[number % len(PALETTE)]
        labels = spread([values[name] for name in column], gap)
        for name, height in zip(column, labels, strict=True):
            axes.plot([rate], [values[name]], "o", color=colour, markersize=5)
            axes.annotate(
                name,
                (rate, values[name]),
                xytext=(rate * 1.12, height),
                textcoords="data",
                fontsize=9,
                color=INK,
                va="center",
                arrowprops={"arrowstyle": "-", "color": "#b8b8b4", "linewidth": 0.6, "shrinkB": 3},
            )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(min(rates.values()) / 1.5, max(rates.values()) * 4)
    axes.margins(y=0.12)
    dress(axes, title, "bits per picture")
