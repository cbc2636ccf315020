"""The section of a run that was made smaller: before and after, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caselli.evaluate import RunFigures
from caselli.figures import cell, figures_of, known
from caselli.report.folder import Contents, is_number
from caselli.report.page import Page


def slimmed(page: Page, run: Contents) -> None:
    """Cost and quality of the run before it was made smaller, and after."""
    group = run.group("slim")
    found = slim_table(group)
    if not found:
        return
    method, origin = group.get("method", ""), group.get("from", "")
    page.section("Made smaller", f"{method}; from the run {origin}. Measured on the same held-out pictures.")
    page.table(found[1:], found[0])
    if "slim" in run.pictures:
        page.picture(run.pictures["slim"], "The same noise before and after")


def slim_table(group: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """A header, and a line for each figure: its name, before, after, and after over before.

    Example:
        >>> slim_table({"before": {"bytes": 2000}, "after": {"bytes": 500}})[1]
        ('bytes of weights', '2,000', '500', '0.250')
    """
    before, after = group.get("before"), group.get("after")
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return []
    lines, figures = [("", "before", "after", "ratio")], figures_of(RunFigures)
    for name, old in before.items():
        new = after.get(name)
        if is_number(old) and is_number(new):
            label, *shown = known(figures, name).show(old)
            again = known(figures, name).show(new)[1:]
            words = (" ".join(part).strip() for part in (shown, again))
            lines.append((label, *words, cell(new / old, ".3f") if old else ""))
    return lines
