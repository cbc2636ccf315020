"""`caselli compare slim`: a run and smaller ones made of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from caselli.compare.base import Comparison, RunSettings, Table, free, kept
from caselli.compare.pictures import labels_for, pictures_for, runs_by_name, some
from caselli.engine import on_device
from caselli.evaluate import run_figures
from caselli.figures import cell, figure
from caselli.model import Model, load
from caselli.run import RunFolder
from caselli.shapes import Float, Tensor

SHOWN = 12
"""Samples of each run, with the same noise."""


@dataclasses.dataclass(frozen=True)
class Settings(RunSettings):
    """Pictures, and runs."""

    runs: tuple[str, ...] = free()
    """Run folders, the whole one first."""
    pictures: int = 4096
    """Held-out pictures measured, at most."""


@dataclasses.dataclass(frozen=True)
class Row:
    """Cost and quality of a run."""

    run: str = figure("run")
    method: str = figure("made by")
    """Method that made it smaller."""
    megabytes: float = figure("MB", ".1f")
    """Size of its files of weights."""
    bits: float = figure("bits per dimension, codes", ".4f")
    psnr: float = figure("PSNR (dB)", ".2f")
    pace: float = figure("codes per second, batch 1", ",.0f", timed=True)
    shown: Float[Tensor, "B C H W"] | None = kept()


class Slim(Comparison):
    """A run and smaller ones made of it, on the same held-out pictures; speeds are measured in turn."""

    Settings, Row = Settings, Row

    def subjects(self) -> dict[str, Any]:
        self.folders = runs_by_name(self.settings.runs)
        models = {name: on_device(load(folder)) for name, folder in self.folders.items()}
        for model in models.values():
            model.require_prior()
        self.first = next(iter(models.values()))
        return models

    def rows(self, subjects: Mapping[str, Model], folder: Path) -> Iterator[Row]:
        held_out = pictures_for(self.first, self.settings.source, "held_out")
        held_out = some(held_out, max(1, self.settings.pictures))
        for name, found in run_figures(subjects, self.folders, held_out):
            yield Row(
                run=name,
                method=RunFolder(self.folders[name]).results().get("slim", {}).get("method", "trained"),
                megabytes=found.bytes / 1e6,
                bits=found.prior_bits_per_dimension,
                psnr=found.psnr,
                pace=found.tokens_per_second,
                shown=subjects[name].sample(SHOWN, label=labels_for(self.first, SHOWN)),
            )

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Each figure, and its ratio to the first run's."""
        (table,), first = super().tables(rows), rows[0]
        head = [*table.head, "of the first's MB", "change of bits", "times the pace"]
        lines = []
        for row, line in zip(rows, table.lines, strict=True):
            ratios = (row.megabytes / first.megabytes, row.bits / first.bits - 1, row.pace / first.pace)
            lines.append([*line, *map(cell, ratios, (".2f", "+.1%", ".2f"))])
        return [Table(head, lines)]
