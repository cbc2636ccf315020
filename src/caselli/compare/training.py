"""Comparisons of runs that are trained on one set of pictures, for minutes or steps."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from caselli import data, ranks
from caselli.compare.base import Comparison
from caselli.data import Pictures
from caselli.errors import UserError


class TrainingComparison(Comparison):
    """A comparison of runs that it trains; its settings have `minutes` and `steps`, of which one is given.

    Arguments:
        settings: a record of its `Settings`.
        changes: fields of the runs by dotted name, the same for all.
    """

    minutes: ClassVar[float]
    """Minutes of each training where nothing is said."""

    def __init__(self, settings: Any, changes: Mapping[str, Any] | None = None) -> None:
        super().__init__(settings)
        self.changes = dict(changes or {})

    def check_budget(self) -> None:
        """Raises a `UserError` where minutes and steps are given."""
        if self.settings.minutes is not None and self.settings.steps is not None:
            raise UserError("minutes and steps were given", "one of them was expected")

    @property
    def budget(self) -> dict[str, Any]:
        """Minutes or steps of each training, as `caselli.run.train` takes them."""
        asked = self.settings
        return {"steps": asked.steps, "minutes": None if asked.steps else asked.minutes or self.minutes}

    @property
    def budget_words(self) -> str:
        """The budget in words."""
        steps, minutes = self.budget.values()
        return f"{steps} steps" if steps else f"{minutes:g} minute{'' if minutes == 1 else 's'}"

    @cached_property
    def pictures(self) -> Pictures:
        """Both parts of the set."""
        progress = ranks.is_first() and sys.stderr.isatty()
        return data.open(self.settings.source, size=self.settings.size, split="all", progress=progress)
