"""The plot of rate against distortion, a labelled point for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from caselli.compare.base import panels
from caselli.report import INK, PALETTE, dress

LINE = 0.055
"""Height of a label as a share of a panel's."""


def rate_distortion(rates: Mapping[str, float], measures: Mapping[str, Mapping[str, float]]) -> Any:
    """A panel for each measure, with every method's name at its bits per picture on a logarithmic axis.

    Names at one rate are kept apart, a thin line leading to each one's point.

    Arguments:
        rates: method → bits per picture.
        measures: title of a measure → method → its value.

    Example:
        >>> drawing = rate_distortion({"vq": 640, "fsq": 640}, {"PSNR (dB)": {"vq": 21.5, "fsq": 21.4}})
        >>> len(drawing.axes)
        1
    """
    drawing, (line,) = panels(5.6 * len(measures), 4.2, columns=len(measures))
    for axes, (title, values) in zip(line, measures.items(), strict=True):
        _panel(axes, title, rates, values)
    return drawing


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """The heights moved so far apart that neighbours differ by `gap` at least, their mean kept.

    Least squares by pooling adjacent violators: labels that touch form a group around their own mean.

    Example:
        >>> spread([1.0, 1.0, 5.0], 1.0)
        [0.5, 1.5, 5.0]
    """
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    groups: list[list[float]] = []
    for place, i in enumerate(order):
        groups.append([heights[i] - place * gap])
        while len(groups) > 1 and fmean(groups[-1]) < fmean(groups[-2]):
            last = groups.pop()
            groups[-1] += last
    moved = [fmean(group) for group in groups for _ in group]
    return [moved[place] + place * gap for place in sorted(range(len(order)), key=order.__getitem__)]


def _panel(axes: Any, title: str, rates: Mapping[str, float], values: Mapping[str, float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    gap = LINE * ((max(values.values()) - min(values.values())) or 1.0) * 1.2
    label = {"textcoords": "data", "fontsize": 9, "color": INK, "va": "center"}
    arrow = {"arrowstyle": "-", "color": "#b8b8b4", "linewidth": 0.6, "shrinkB": 3}
    columns = {rate: [name for name in values if rates[name] == rate] for rate in sorted({*rates.values()})}
    for number, (rate, column) in enumerate(columns.items()):
        colour = PALETTE[number % len(PALETTE)]
        labels = spread([values[name] for name in column], gap)
        for name, height in zip(column, labels, strict=True):
            axes.plot([rate], [values[name]], "o", color=colour, markersize=5)
            at, place = (rate, values[name]), (rate * 1.12, height)
            axes.annotate(name, at, xytext=place, arrowprops=arrow, **label)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(min(rates.values()) / 1.5, max(rates.values()) * 4)
    axes.margins(y=0.12)
    dress(axes, title, "bits per picture")
