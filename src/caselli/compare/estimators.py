"""`caselli compare estimators`: gradient estimators on a small problem whose gradient is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.distributions import Distribution

from caselli.compare.base import Comparison, chosen, free, panels
from caselli.errors import UserError, lookup
from caselli.estimator import ESTIMATORS, PROBLEMS, measure
from caselli.figures import figure

AFFORDABLE = 1000
"""Evaluations of f for one estimate, at most; it limits enumeration to few states."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """A problem, and the number of estimates of its gradient."""

    problem: str = "bernoulli"
    """Name of a problem."""
    estimators: tuple[str, ...] = free(())
    """Names with commas between; by default all that serve the problem."""
    samples: int = 1
    """Samples for each estimate."""
    repeats: int = 10_000
    """Independent estimates."""
    seed: int = 0
    """Seed of every estimator's samples."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One estimator."""

    estimator: str = figure("estimator")
    unbiased: bool = figure("unbiased")
    evaluations: int = figure("evaluations of f")
    bias: float = figure("bias", ".2e")
    chance: float = figure("by chance", ".0e")
    """Root mean square of the bias that an unbiased estimator would show after as many repeats."""
    variance: float = figure("variance", ".3e")
    cosine: float = figure("cosine to the gradient", ".3f")


class Estimators(Comparison):
    """Bias, variance, direction and cost of gradient estimators."""

    Settings, Row = Settings, Row

    def subjects(self) -> dict[str, Any]:
        if self.settings.samples < 1:
            raise UserError(f"samples {self.settings.samples} were given", "at least 1 was expected")
        self.problem = lookup(PROBLEMS, "problem", self.settings.problem)()
        names = chosen(self.settings.estimators, ESTIMATORS, "estimator")
        if not self.settings.estimators:
            names = applicable(self.problem.p)
        return {name: name for name in names}

    def rows(self, subjects: Mapping[str, Any], folder: Path) -> Iterator[Row]:
        problem, asked = self.problem, self.settings
        names = list(subjects)
        for m in measure(problem.f, problem.p, names, asked.samples, asked.repeats, seed=asked.seed):
            yield Row(m.name, m.unbiased, m.evaluations, m.bias, m.bias_error, m.variance, m.cosine)

    def notes(self, rows: Sequence[Row]) -> str:
        return f"Gradient of E[f], f = {PROBLEMS[self.settings.problem]().words}; variance of one estimate."

    def plot(self, rows: Sequence[Row]) -> Any:
        """Squared bias and variance as bars on a logarithmic scale."""
        drawing, ((axes,),) = panels(8, 0.4 * len(rows) + 1.2)
        floor = 1e-12  # an exact estimator has no bar on a logarithmic scale
        bars = {"variance": [row.variance for row in rows], "squared bias": [row.bias**2 for row in rows]}
        for shift, (label, values) in zip((-0.2, 0.2), bars.items(), strict=True):
            places = [place + shift for place in range(len(rows))]
            axes.barh(places, [max(value, floor) for value in values], 0.4, label=label)
        axes.set_yticks(range(len(rows)), [f"{row.estimator} ({row.evaluations})" for row in rows])
        axes.set(xscale="log", xlabel="squared error of one estimate (evaluations of f in brackets)")
        axes.invert_yaxis()
        axes.legend()
        return drawing


def applicable(p: Distribution) -> list[str]:
    """Names of the estimators that serve p; enumeration for at most a thousand states.

    Example:
        >>> applicable(PROBLEMS["bernoulli"]().p)[:4]
        ['score', 'nvil', 'vimco', 'rebar']
    """
    made = {name: kind() for name, kind in ESTIMATORS.items()}
    return [name for name, e in made.items() if e.accepts(p) and e.evaluations(p, 1) <= AFFORDABLE]
