"""Figures that describe themselves: label, form and unit are written where a figure is declared."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

NOTHING = "–"
"""A cell without a value."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """The way a measured number is shown."""

    label: str
    """Its name in words."""
    form: str = ""
    """Format of the value, such as ".2f" or ".1%"; empty for four digits."""
    unit: str = ""
    """Unit, where the label does not have it."""
    section: str = ""
    """Section of a run's page that shows the figure and its curve; empty for none of its own."""
    key: bool = False
    """True for the few figures that say how good a run is."""

    def show(self, value: Any) -> tuple[str, str, str]:
        """(label, number, unit) of a value, for people.

        Example:
            >>> Figure("PSNR", ".2f", "dB").show(21.456), Figure("use", ".1%").show(0.5)
            (('PSNR', '21.46', 'dB'), ('use', '50.0', '%'))
        """
        if isinstance(value, bool) or not isinstance(value, int | float):
            return self.label, _words(value), ""
        if not math.isfinite(value):
            return self.label, "not finite", ""
        text = cell(value, self.form)
        return (self.label, text[:-1], "%") if text.endswith("%") else (self.label, text, self.unit)


def figure(
    label: str, form: str = "", unit: str = "", *, section: str = "", key: bool = False, timed: bool = False
) -> Any:
    """A field of a record that holds a figure.

    Arguments:
        label, form, unit, section, key: as in `Figure`.
        timed: measured by a clock, so that no seed fixes it.
    """
    described = Figure(label, form, unit, section, key)
    return dataclasses.field(metadata={"figure": described, "timed": timed})


def figures_of(kind: type) -> dict[str, Figure]:
    """The figures that a record holds, by the names of its fields."""
    found = {field.name: field.metadata.get("figure") for field in dataclasses.fields(kind)}
    return {name: described for name, described in found.items() if described is not None}


def known(figures: Mapping[str, Figure], name: str) -> Figure:
    """The figure of a name; one that nothing describes has its name for a label.

    Example:
        >>> known({}, "my_own_figure").show(3)
        ('my own figure', '3', '')
    """
    return figures.get(name) or Figure(name.replace("_", " "))


def cell(value: Any, form: str = "") -> str:
    """A value as text: a dash for none, yes or no, a minus sign for a hyphen.

    Example:
        >>> cell(-12.345, ".1f"), cell(None, ".1f"), cell(True), cell(0.0123456), cell(12345.6)
        ('−12.3', '–', 'yes', '0.01235', '12,346')
    """
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if not form and isinstance(value, float):
        form = ",.0f" if (value.is_integer() or abs(value) >= 1000) and abs(value) < 1e15 else ".4g"
    text = format(value, form)
    return "−" + text[1:] if text.startswith("-") else text


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        rest = f", … ({len(value)} in all)" if len(value) > 24 else ""
        return ", ".join(map(_words, value[:24])) + rest
    return cell(value) if value is None or isinstance(value, bool | int | float) else str(value)
