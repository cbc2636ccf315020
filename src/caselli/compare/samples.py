"""`caselli compare samples`: samples of runs that differ in their prior, their bits and their pace."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from caselli.compare.base import Comparison, Table, free, kept
from caselli.compare.pictures import labels_for
from caselli.engine import on_device
from caselli.errors import UserError
from caselli.figures import figure
from caselli.model import Model, load
from caselli.run import RunFolder
from caselli.sampling import Timed
from caselli.shapes import Float, Tensor

SAMPLED, SHOWN = 64, 12
"""Pictures that are sampled and timed, and those that are shown."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Runs, and the seed of their samples."""

    runs: tuple[str, ...] = free()
    """Run folders of one set of pictures."""
    seed: int = 0
    """Picture i is sampled with seed + i."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One run."""

    prior: str = figure("prior")
    rounds: int = figure("rounds")
    bits_per_code: float = figure("bits a code", ".2f")
    bits: float = figure("bits a picture", ".1f")
    pace: float = figure("pictures a second", ",.0f", timed=True)
    read_as_asked: float | None = figure("read as asked", ".1%")
    exact: bool
    """False where the bits are an upper bound."""
    shown: Float[Tensor, "B C H W"] | None = kept()


class Samples(Comparison):
    """Samples of several runs side by side, the bits of their priors, and their pace of sampling."""

    Settings, Row = Settings, Row

    def subjects(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for path in self.settings.runs:
            model = on_device(load(path))
            name = f"{model.require_prior().kind.replace('_', ' ')}, {Path(path).resolve().name}"
            subject = (model, _results(path))
            found[name if name not in found else f"{name} {len(found) + 1}"] = subject
        return found

    def rows(self, subjects: Mapping[str, Any], folder: Path) -> Iterator[Row]:
        for name, (model, results) in subjects.items():
            pictures, seconds = _sampled(model, self.settings.seed)
            prior = model.prior
            bits = results["evaluation"]["prior_bits_per_picture"]
            read = results.get("samples", {}).get("read_as_asked")
            costs = (prior.rounds(), bits / model.grid.length, bits, SAMPLED / seconds)
            yield Row(name, *costs, read, prior.exact, pictures[:SHOWN])

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """Bits that are an upper bound have a sign before them."""
        (table,) = super().tables(rows)
        signs = ["" if row.exact else "≤ " for row in rows]
        lines = [
            [name, rounds, sign + code, sign + picture, *rest]
            for sign, (name, rounds, code, picture, *rest) in zip(signs, table.lines, strict=True)
        ]
        return [Table(table.head, lines)]


def _results(path: str) -> dict[str, Any]:
    """The figures of a run.

    Errors: `UserError` where its prior was never measured, as that of a run that was imported.
    """
    found = RunFolder(path).results()
    if "prior_bits_per_picture" not in found.get("evaluation", {}):
        raise UserError(
            f"{path} has no figures of its prior",
            "a run that has measured its held-out pictures was expected",
        )
    return found


def _sampled(model: Model, seed: int) -> tuple[Float[Tensor, "B C H W"], float]:
    """A batch in the labels' order, spread over all of them, and the seconds that it took."""
    labels = labels_for(model, SHOWN)
    labels = labels and (labels * SAMPLED)[:SAMPLED]
    engine = model.engine()[0]
    model.sample(SAMPLED, labels, seed, engine=engine)  # the first batch also makes the engine ready
    timed = Timed(engine)
    return model.sample(SAMPLED, labels, seed, engine=timed), timed.seconds
