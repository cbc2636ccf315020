"""The contract of every comparison: its settings, its rows, how they are shown."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from caselli.errors import lookup
from caselli.figures import cell, figures_of
from caselli.report import rows as lines_of_pictures
from caselli.shapes import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image


def free(default: Any = dataclasses.MISSING, separator: str = ",") -> Any:
    """A setting that chooses rows, or how they are made, and may change when a comparison is resumed.

    Arguments:
        default: default value.
        separator: character between names on the command line.
    """
    return dataclasses.field(default=default, metadata={"free": True, "separator": separator})


def kept() -> Any:
    """A field of a row with a tensor (pictures, samples) that is stored beside the figures, to be drawn."""
    return dataclasses.field(default=None, repr=False, compare=False, metadata={"kept": True})


@dataclasses.dataclass(frozen=True)
class PictureSettings:
    """Settings of a comparison on a set of pictures."""

    source: str
    """Pictures: a set, a folder, an archive."""


@dataclasses.dataclass(frozen=True)
class RunSettings(PictureSettings):
    """Settings of a comparison of runs on a set of pictures."""

    runs: tuple[str, ...] = free()
    """Run folders."""


@dataclasses.dataclass(frozen=True)
class TrainingSettings(PictureSettings):
    """Settings of a comparison that trains every subject on a set of pictures."""

    size: int | None = dataclasses.field(default=None, kw_only=True)
    """Height and width in pixels; the set's own by default."""
    seed: int = dataclasses.field(default=0, kw_only=True)
    """Seed of everything random."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells under a head, and a line of words above them."""

    head: Sequence[str]
    lines: Sequence[Sequence[str]]
    words: str = ""


class Comparison(ABC):
    """Several subjects measured in the same way, a row each.

    Each comparison is a final class with its two records, `subjects` and `rows`; the driver,
    `caselli.compare.compare`, does the rest.

    Arguments:
        settings: a record of its `Settings`.
    """

    Settings: ClassVar[type]
    """Frozen record of plain fields; all but the `free` ones must agree to resume. Fields without a default
    are positional on the command line."""
    Row: ClassVar[type]
    """Frozen record of plain fields, the table's columns made by `figure`, and at most one tensor, made by
    `kept`."""
    gone: ClassVar[Mapping[str, str]] = {}
    """Former options of the command line → what to type instead."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @property
    def name(self) -> str:
        """The name in `COMPARISONS`, and in the comparison's file."""
        return type(self).__name__.lower()

    @classmethod
    def words(cls) -> str:
        """One line of help: the first of the class's docstring."""
        return (inspect.getdoc(cls) or "").split("\n")[0].rstrip(".")

    @abstractmethod
    def subjects(self) -> dict[str, Any]:
        """Name of each row, in order → the description of its subject that `rows` needs.

        Errors: `UserError` for invalid settings, before any time is spent.
        """

    @abstractmethod
    def rows(self, subjects: Mapping[str, Any], folder: Path) -> Iterator[Any]:
        """A row for each subject, in order.

        A row must not depend on which others are made with it: a resumed comparison makes only the missing
        ones.

        Arguments:
            subjects: some of `subjects()`.
            folder: place for intermediate results, such as runs.
        """

    def agreed(self) -> dict[str, Any]:
        """Names and values that must be equal for rows to be comparable."""
        return {
            field.name: getattr(self.settings, field.name)
            for field in dataclasses.fields(self.settings)
            if not field.metadata.get("free")
        }

    def tables(self, rows: Sequence[Any]) -> list[Table]:
        """The rows as text; by default every `figure` in a column."""
        columns = figures_of(self.Row)
        lines = [[cell(getattr(row, name), each.form) for name, each in columns.items()] for row in rows]
        return [Table([each.label for each in columns.values()], lines)]

    def notes(self, rows: Sequence[Any]) -> str:
        """Sentences below the tables."""
        return ""

    def plot(self, rows: Sequence[Any]) -> Figure | None:
        """A plot of the figures; none by default."""
        return None

    def original(self) -> Tensor | None:
        """Pictures shown above those of the rows, `B C H W` in [-1, 1]."""
        return None

    def sheet(self, rows: Sequence[Any]) -> Image.Image | None:
        """The rows' pictures, one line a row with its name in the margin."""
        name = kept_field(self.Row)
        if name is None:
            return None
        (first, described), *_ = figures_of(self.Row).items()
        original = self.original()
        named = {} if original is None else {"original": original}
        for row in rows:
            named[cell(getattr(row, first), described.form)] = getattr(row, name)
        return lines_of_pictures(named)


def chosen(names: Sequence[str], table: Mapping[str, Any], kind: str) -> list[str]:
    """The names, each once, or all in the table where none or "all" is asked for.

    Errors: `UnknownName` for one that is not in the table.

    Example:
        >>> chosen((), {"a": 1, "b": 2}, "letter"), chosen(("b", "b"), {"a": 1, "b": 2}, "letter")
        (['a', 'b'], ['b'])
    """
    if tuple(names) in ((), ("all",)):
        return list(table)
    for name in names:
        lookup(table, kind, name)
    return list(dict.fromkeys(names))


def kept_field(kind: type) -> str | None:
    """Name of the field of a row whose tensor is kept."""
    return next((field.name for field in dataclasses.fields(kind) if field.metadata.get("kept")), None)


def with_tensor(row: Any, tensor: Tensor | None) -> Any:
    """The row with another kept tensor; the row itself where it has none."""
    name = kept_field(type(row))
    return row if name is None else dataclasses.replace(row, **{name: tensor})


def panels(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """A drawing of width × height inches and the array of its axes, `rows columns`."""
    from matplotlib.figure import Figure  # loads slowly

    drawing = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    return drawing, drawing.subplots(rows, columns, squeeze=False)
