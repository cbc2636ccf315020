"""What a comparison of mixers found: its records, its file, its table."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from caselli import markdown
from caselli.errors import UserError
from caselli.evaluate.mixers.cost import Cost
from caselli.evaluate.mixers.learning import Budget
from caselli.evaluate.mixers.model import Size
from caselli.files import write_text


@dataclasses.dataclass(frozen=True)
class Score:
    """What a mixer made of a task."""

    task: str
    mixer: str
    rate: float
    """The learning rate that it was given."""
    steps: int
    """Until the budget was spent or nothing was left to learn."""
    seconds: float
    """Of learning, at the rate that was chosen."""
    parameters: int
    """Numbers learnt."""
    state: int
    """Bytes carried after a sequence of the task's own length."""
    lengths: tuple[int, ...]
    """T of the held-out sequences."""
    right: tuple[float, ...]
    """Share of right answers at each of these lengths."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All that was measured, and how."""

    size: Size
    budget: Budget
    learnt_at: dict[str, int]
    """Task → the longest sequences it was learnt from."""
    guessing: dict[str, float]
    """Task → share of right answers of someone who always gives the most frequent one."""
    scores: tuple[Score, ...] = ()
    costs: tuple[Cost, ...] = ()

    def score(self, task: str, mixer: str) -> Score | None:
        """What was measured of both; None if it was not, or if the mixer cannot do the task."""
        return next((s for s in self.scores if (s.task, s.mixer) == (task, mixer)), None)

    def costs_of(self, mixer: str) -> list[Cost]:
        """At every length."""
        return [cost for cost in self.costs if cost.mixer == mixer]

    @property
    def mixers(self) -> list[str]:
        """Names, in the order in which they were measured."""
        return list(dict.fromkeys(one.mixer for one in (*self.scores, *self.costs)))


# files ------------------------------------------------------------------------------------------------------


def save(comparison: Comparison, path: Path) -> None:
    """As JSON, atomically."""
    write_text(path, json.dumps(dataclasses.asdict(comparison), indent=1) + "\n")


def load(path: Path) -> Comparison:
    """What `save` wrote.

    Errors: `UserError` for a file that is none.
    """
    try:
        data = json.loads(path.read_text())
        size, budget = (_record(kind, data.pop(key)) for kind, key in ((Size, "size"), (Budget, "budget")))
        scores = tuple(_record(Score, score) for score in data.pop("scores"))
        costs = tuple(_record(Cost, one) for one in data.pop("costs"))
        return Comparison(size, budget, scores=scores, costs=costs, **data)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} cannot be read ({error})", "a comparison of mixers was expected") from error


def _record(kind: type, values: dict[str, Any]) -> Any:
    """A frozen record whose sequences are tuples."""
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


# words ------------------------------------------------------------------------------------------------------


def table(comparison: Comparison) -> str:
    """Markdown: right answers in per cent at the learnt length, and the costs."""
    tasks = list(comparison.learnt_at)
    lengths = sorted({cost.length for cost in comparison.costs})
    short, long = lengths[0], lengths[-1]
    heads = [f"{name.replace('_', ' ')}, T = {length}" for name, length in comparison.learnt_at.items()]
    costs = [f"µs a token, T = {long:,}", f"kB a token kept, T = {long:,}"]
    states = [f"state, kB, T = {length:,}" for length in (short, long)]
    rows = [["guessing", "", *(f"{comparison.guessing[task]:.1%}" for task in tasks), *[""] * 4]]
    rows += [_row(comparison, mixer, tasks, short, long) for mixer in comparison.mixers]
    return markdown.table(["mixer", "parameters", *heads, *costs, *states], rows) + "\n"


def _row(comparison: Comparison, mixer: str, tasks: list[str], short: int, long: int) -> list[str]:
    scores = [comparison.score(task, mixer) for task in tasks]
    parameters = [f"{score.parameters:,}" for score in scores if score is not None]
    costs = {cost.length: cost for cost in comparison.costs_of(mixer)}
    return [
        mixer,
        parameters[0] if parameters else "",
        *(_cell(score, comparison) for score in scores),
        f"{costs[long].seconds * 1e6:.1f}" if long in costs else "–",
        f"{costs[long].memory / 1000:.1f}" if long in costs else "–",
        *(f"{costs[length].state / 1000:.1f}" if length in costs else "–" for length in (short, long)),
    ]


def _cell(score: Score | None, comparison: Comparison) -> str:
    if score is None:
        return "–"
    return f"{score.right[score.lengths.index(comparison.learnt_at[score.task])]:.1%}"
