"""Mixers side by side: every task learnt by every mixer, and what each costs."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import torch

from caselli.data import generator
from caselli.errors import UserError
from caselli.evaluate.mixers.cost import cost, state_bytes
from caselli.evaluate.mixers.learning import Budget, accuracy, learn
from caselli.evaluate.mixers.model import Size, count_parameters, is_causal
from caselli.evaluate.mixers.results import Comparison, Score
from caselli.evaluate.tasks import NOTHING, SequenceTask

COST_LENGTHS = (64, 256, 1024)
"""Lengths at which time, memory and state are measured."""


def compare_mixers(
    mixers: Sequence[str],
    tasks: dict[str, SequenceTask],
    size: Size,
    budget: Budget,
    *,
    jobs: int = 1,
    before: Comparison | None = None,
    keep: Callable[[Comparison], None] = lambda comparison: None,
    say: Callable[[str], None] = lambda words: None,
) -> Comparison:
    """Every task learnt by every mixer, with equal parameters, and equal states where a mixer can have it.

    Arguments:
        mixers: names as of `build_model`.
        tasks: name → task.
        size: of the models.
        budget: of each mixer on each task.
        jobs: processes that learn at the same time, with a thread each; 1 for this process alone.
        before: an earlier comparison to go on with: what it has is not measured again.
        keep: given the comparison so far, after each mixer and task.
        say: given a line for each of them.

    Errors: `UserError` for unknown mixers, and where `before` was made with another size, budget or task.

    Example:
        >>> from caselli.evaluate.tasks import TASKS
        >>> size, budget = Size(width=16, depth=1, state=8, parameters=16), Budget(steps=10, batch=2)
        >>> tasks = {"induction_heads": TASKS["induction_heads"](length=8)}
        >>> compare_mixers(["linear"], tasks, size, budget).scores[0].steps
        10
    """
    for mixer in mixers:
        is_causal(mixer)  # unknown names are found before time is spent
    found = _begun(tasks, size, budget, before)
    first = next(iter(tasks.values()))
    known = {(cost.mixer, cost.length) for cost in found.costs}
    todo = [(mixer, T) for mixer in mixers for T in _cost_lengths(mixer, first) if (mixer, T) not in known]
    measured = tuple(cost(mixer, first, size, T, device=budget.device) for mixer, T in todo)
    found = dataclasses.replace(found, costs=found.costs + measured)
    keep(found)
    todo = [
        (mixer, name, task, size, budget)
        for name, task in tasks.items()
        for mixer in mixers
        if found.score(name, mixer) is None and (is_causal(mixer) or not task.causal_only)
    ]
    for score in _measured(todo, jobs):
        found = dataclasses.replace(found, scores=(*found.scores, score))
        keep(found)
        say(_line(score, tasks[score.task].length))
    return found


def measure(mixer: str, name: str, task: SequenceTask, size: Size, budget: Budget) -> Score:
    """One task learnt by one mixer, tested at all its lengths."""
    learner = learn(mixer, task, size, budget)
    model = learner.learning.model
    return Score(
        task=name,
        mixer=mixer,
        rate=learner.rate,
        steps=learner.step,
        seconds=round(learner.seconds, 2),
        parameters=count_parameters(model),
        state=state_bytes(model, task.length),
        lengths=task.lengths,
        right=tuple(accuracy(learner, length) for length in task.lengths),
    )


def _measured(todo: list[tuple], jobs: int) -> Iterator[Score]:
    """In order; processes are begun afresh, since a fork of one with threads may hang."""
    if jobs == 1 or len(todo) < 2:
        yield from (measure(*one) for one in todo)
        return
    begin = {"mp_context": multiprocessing.get_context("spawn"), "initializer": torch.set_num_threads}
    with ProcessPoolExecutor(min(jobs, len(todo)), initargs=(1,), **begin) as pool:
        yield from pool.map(measure, *zip(*todo, strict=True))


def guess(task: SequenceTask, count: int = 256) -> float:
    """Share of the most frequent answer.

    Example:
        >>> from caselli.evaluate.tasks import TASKS
        >>> round(guess(TASKS["induction_heads"](symbols=2)), 1)
        0.5
    """
    answers = task.examples(count, generator("guess"), split="held_out").answers
    counts = torch.bincount(answers[answers != NOTHING])
    return (counts.max() / counts.sum()).item()


def _begun(
    tasks: dict[str, SequenceTask], size: Size, budget: Budget, before: Comparison | None
) -> Comparison:
    learnt_at = {name: task.length for name, task in tasks.items()}
    guessing = {name: guess(task) for name, task in tasks.items()}
    if before is None:
        return Comparison(size, budget, learnt_at, guessing)
    if (before.size, before.budget) != (size, budget):
        raise UserError(
            f"{size}, {budget} were given",
            f"those of the comparison there were expected: {before.size}, {before.budget}",
        )
    for name, task in tasks.items():
        seen = (before.learnt_at.get(name, task.length), before.guessing.get(name, guessing[name]))
        if seen != (task.length, guessing[name]):
            raise UserError(
                f"task {name!r} is not that of the comparison there",
                f"sequences of {seen[0]} tokens and a guess of {seen[1]:.1%} were expected",
                "compare into another folder",
            )
    return dataclasses.replace(
        before, learnt_at=before.learnt_at | learnt_at, guessing=before.guessing | guessing
    )


def _cost_lengths(mixer: str, task: SequenceTask) -> list[int]:
    """One that is not causal is built for the lengths of the task alone."""
    return [length for length in COST_LENGTHS if is_causal(mixer) or length <= max(task.lengths)]


def _line(score: Score, length: int) -> str:
    right = score.right[score.lengths.index(length)]
    return (
        f"{score.task:<18} {score.mixer:<16} {right:6.1%} after {score.steps} steps, "
        f"{score.seconds:.0f} s, learning rate {score.rate}"
    )
