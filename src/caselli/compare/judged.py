"""Comparisons that train runs on pictures, judged by a network of features that trained none of them."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

from caselli.compare.base import TrainingSettings
from caselli.compare.pictures import pixels, some
from caselli.compare.training import TrainingComparison
from caselli.data import Pictures
from caselli.errors import MissingExtra
from caselli.evaluate import JUDGES, installed_judge, judge
from caselli.features import TEACHERS, features_of
from caselli.shapes import Float, Tensor

SHOWN = 10
"""Pictures that are shown of each row."""
FIRST = 20_000
"""Seed of the first sample that is measured."""
NOT_LOOKED_AT = {"reading.seconds": 0.0, "reading.judged": 0}
"""Fields of runs that leave the judgement of their samples to the comparison."""


@dataclasses.dataclass(frozen=True)
class JudgedSettings(TrainingSettings):
    """Settings of a comparison whose samples are measured against held-out pictures."""

    samples: int = dataclasses.field(default=1024, kw_only=True)
    """Number of samples, and of held-out pictures that they are measured against, at most."""


class JudgedComparison(TrainingComparison):
    """A comparison of runs that it trains, with the pictures and the network that judge them.

    Arguments:
        settings: a record of its `Settings`.
        changes: fields of the runs by dotted name, the same for all.
    """

    @cached_property
    def held_out(self) -> Pictures:
        """The pictures that are measured against."""
        return some(self.pictures.split("held_out"), self.settings.samples)

    @cached_property
    def judges(self) -> str:
        """Name of that network.

        Errors: `MissingExtra` where none is installed.
        """
        name = installed_judge()
        if name is None:
            raise MissingExtra(f"caselli compare {self.name}", TEACHERS[JUDGES[0]].package(), "eyes")
        return name

    @cached_property
    def judge(self) -> Any:
        """The network of features."""
        return judge(self.judges, self.held_out.size)

    def features(self, x: Float[Tensor, "n C H W"]) -> Float[Tensor, "n F"]:
        """Features of pictures."""
        return features_of(self.judge, x, 64).cpu()

    def original(self) -> Float[Tensor, "B C H W"]:
        return pixels(some(self.held_out, SHOWN))
