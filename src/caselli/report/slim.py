"""The section of a run that was made smaller: before and after, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caselli.report.figures import show
from caselli.report.folder import Contents, is_number
from caselli.report.page import Page

FINE = {
    "bytes": "{:,.0f}",
    "prior_bits_per_dimension": "{:.5f}",
    "bits_per_dimension": "{:.4f}",
}
"""Figures whose small differences count."""
LABELS = {
    "bytes": "bytes of weights",
    "prior_bits_per_dimension": "bits per dimension, codes",
    "bits_per_dimension": "bits per dimension, in all",
    "tokens_per_second": "codes per second, batch 1",
    "pictures_per_second": "pictures decoded per second",
}


def slimmed(page: Page, run: Contents) -> None:
    """What the run cost and was worth before it was made smaller, and after."""
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
    lines = [("", "before", "after", "ratio")]
    for name, old in before.items():
        new = after.get(name)
        if is_number(old) and is_number(new):
            ratio = f"{new / old:.3f}" if old else ""
            lines.append((_label(name), _shown(name, old), _shown(name, new), ratio))
    return lines


def _label(name: str) -> str:
    return LABELS.get(name) or show(name, 0.0)[0]


def _shown(name: str, value: float) -> str:
    if name in FINE:
        return FINE[name].format(value)
    _, number, unit = show(name, value)
    return f"{number} {unit}".strip()
