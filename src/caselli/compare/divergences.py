"""`caselli compare divergences`: the same model of the plane fitted under each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from caselli.compare.base import Comparison, Table, chosen, free, panels
from caselli.compare.plane import MODELS, TARGETS, Row, divergence_of, fit, fitting_the_plane
from caselli.errors import lookup
from caselli.shapes import Tensor

SHOWN = ("kl", "jensen_shannon", "reverse_kl", "mmd", "sliced_wasserstein", "f_gan", "wasserstein", "hinge")
"""The divergences compared unless others are named: eight that differ."""
REACH = 3.2
"""Half the side of the window of the plane that is drawn."""
DATA, FAINT, MADE = "#3c3c3c", "#dcdcd6", "#c8553d"


@dataclasses.dataclass(frozen=True)
class Settings:
    """A model of the plane, and its fitting."""

    targets: tuple[str, ...] = free(())
    """Names of distributions with commas between (eight_gaussians, ring, ...); by default all."""
    divergences: tuple[str, ...] = free(())
    """Names with commas between; by default eight that differ."""
    model: str = "mixture"
    """mixture (of Gaussians) or generator (a network from noise)."""
    components: int = 4
    """Components of the mixture."""
    steps: int = 400
    """Training steps of each fit."""
    seed: int = 0
    """Seed of everything random."""


class Divergences(Comparison):
    """A model of the plane fitted under each divergence, to see which parts of the data it leaves out."""

    Settings, Row = Settings, Row

    def subjects(self) -> dict[str, Any]:
        lookup(MODELS, "model", self.settings.model)
        names = self.settings.divergences
        names = names or tuple(name for name in SHOWN if name in fitting_the_plane(self.settings.model))
        targets = chosen(self.settings.targets, TARGETS, "distribution")
        for name in names:
            divergence_of(name, self.settings.model)
        return {f"{target}, {name}": (target, name) for target in targets for name in names}

    def rows(self, subjects: Mapping[str, Any], folder: Path) -> Iterator[Row]:
        asked = self.settings
        for target, name in subjects.values():
            yield fit(target, name, asked.model, asked.components, asked.steps, asked.seed)

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """A line for each divergence, a column for each distribution."""
        targets, names, found = _by_name(rows)
        lines = [[f"`{name}`", *(_shares(found.get((target, name))) for target in targets)] for name in names]
        return [Table(["divergence", *(target.replace("_", " ") for target in targets)], lines)]

    def notes(self, rows: Sequence[Row]) -> str:
        return "Precision / recall in hundredths."

    def sheet(self, rows: Sequence[Row]) -> None:
        """The samples are points."""

    def plot(self, rows: Sequence[Row]) -> Any:
        """The data in the first column, then samples of the model fitted under each divergence."""
        targets, names, found = _by_name(rows)
        lines, columns = len(targets), len(names) + 1
        drawing, grid = panels(1.45 * columns, 1.55 * lines + 0.2, lines, columns)
        for number, (line, target) in enumerate(zip(grid, targets, strict=True)):
            data = TARGETS[target]().sample((len(rows[0].samples),))
            for axes, name in zip(line, ("", *names), strict=True):
                row = found.get((target, name))
                _panel(axes, data, FAINT if name else DATA)
                if number == 0:
                    axes.set_title((name or "data").replace("_", " "), fontsize=8)
                if row is not None:
                    _points(axes, row.samples, MADE)
                    axes.set_xlabel(_shares(row), fontsize=7, labelpad=2)
            line[0].set_ylabel(target.replace("_", " "), fontsize=8)
        return drawing


def _by_name(rows: Sequence[Row]) -> tuple[list[str], list[str], dict[tuple[str, str], Row]]:
    targets, names = ([getattr(row, name) for row in rows] for name in ("target", "divergence"))
    found = {(row.target, row.divergence): row for row in rows}
    return list(dict.fromkeys(targets)), list(dict.fromkeys(names)), found


def _shares(row: Row | None) -> str:
    return "–" if row is None else f"{100 * row.precision:.0f} / {100 * row.recall:.0f}"


def _panel(axes: Any, points: Tensor, colour: str) -> None:
    _points(axes, points, colour)
    axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), xticks=[], yticks=[], aspect="equal")
    for side in axes.spines.values():
        side.set_color(FAINT)


def _points(axes: Any, points: Tensor, colour: str) -> None:
    axes.scatter(points[:, 0], points[:, 1], s=0.8, color=colour, linewidths=0, rasterized=True)
