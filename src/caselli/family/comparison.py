"""Divergences side by side: a table and a picture of what each makes of the same data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from caselli import markdown
from caselli.family.plane import TARGETS, Fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = ("kl", "jensen_shannon", "reverse_kl", "mmd", "sliced_wasserstein", "f_gan", "wasserstein", "hinge")
"""The divergences compared unless others are named."""
REACH = 3.2
"""Half the side of the window of the plane that is drawn."""


def table(fits: Sequence[Fit]) -> str:
    """The fits as Markdown: precision and recall of every divergence on every target, in hundredths.

    Example:
        >>> from caselli.family.plane import fit
        >>> print(table([fit("ring", "mmd", steps=1)]).splitlines()[0])
        | divergence | ring |
    """
    targets, divergences = _names(fits)
    found = {(f.divergence, f.target): f for f in fits}
    rows = []
    for name in divergences:
        cells = [found[name, target] for target in targets]
        rows.append([f"`{name}`", *(f"{100 * f.precision:.0f} / {100 * f.recall:.0f}" for f in cells)])
    return markdown.table(["divergence", *(t.replace("_", " ") for t in targets)], rows)


def plot(fits: Sequence[Fit]) -> Figure:
    """The data in the first column, then samples of the model fitted under each divergence.

    Example:
        >>> from caselli.family.plane import fit
        >>> type(plot([fit("ring", "mmd", steps=1)])).__name__
        'Figure'
    """
    from matplotlib.figure import Figure  # loads slowly

    targets, divergences = _names(fits)
    found = {(f.divergence, f.target): f for f in fits}
    size = (1.45 * (len(divergences) + 1), 1.55 * len(targets) + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(targets), len(divergences) + 1, squeeze=False)
    for number, (row, target) in enumerate(zip(axes, targets, strict=True)):
        titles = [name.replace("_", " ") if number == 0 else "" for name in ("data", *divergences)]
        data = TARGETS[target]().sample((len(fits[0].samples),))
        _panel(row[0], data, "#3c3c3c", titles[0])
        row[0].set_ylabel(target.replace("_", " "), fontsize=8)
        for axis, name, title in zip(row[1:], divergences, titles[1:], strict=True):
            _panel(axis, data, "#dcdcd6", title)
            made = found[name, target]
            _points(axis, made.samples, "#c8553d")
            axis.set_xlabel(f"{100 * made.precision:.0f} / {100 * made.recall:.0f}", fontsize=7, labelpad=2)
    return figure


def _panel(axis: Axes, points, colour: str, title: str) -> None:
    _points(axis, points, colour)
    axis.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=[], yticks=[], aspect="equal")
    axis.set_title(title, fontsize=8)
    for side in axis.spines.values():
        side.set_color("#dcdcd6")


def _points(axis: Axes, points, colour: str) -> None:
    axis.scatter(points[:, 0], points[:, 1], s=0.8, color=colour, linewidths=0, rasterized=True)


def _names(fits: Sequence[Fit]) -> tuple[list[str], list[str]]:
    return list(dict.fromkeys(f.target for f in fits)), list(dict.fromkeys(f.divergence for f in fits))
