"""The base of the tasks for sequence mixers: tokens, and the answers expected at some of them."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

import torch
from torch.nn import functional

from caselli.errors import UserError
from caselli.shapes import Int, Tensor

NOTHING = -100
"""The answer at tokens without a question, which `torch.nn.functional.cross_entropy` ignores."""
SPLITS = ("train", "held_out")


@dataclasses.dataclass(frozen=True)
class Examples:
    """Sequences, and the answers expected at their tokens."""

    tokens: Int[Tensor, "B T"]
    answers: Int[Tensor, "B T"]
    """`NOTHING` at tokens without a question."""

    @classmethod
    def asked_last(cls, tokens: Int[Tensor, "B T"], answers: Int[Tensor, "B n"]) -> Examples:
        """Examples whose last n tokens are the questions.

        Example:
            >>> Examples.asked_last(torch.tensor([[4, 5, 6]]), torch.tensor([[7]])).answers
            tensor([[-100, -100,    7]])
        """
        before = tokens.shape[1] - answers.shape[1]
        return cls(tokens, functional.pad(answers, (before, 0), value=NOTHING))


class SequenceTask(ABC):
    """A task that a sequence model learns from examples; equal random generators make equal examples.

    Each task is a final class that gives `draw`; `TASKS[name]()` builds it with its defaults.

    Arguments:
        tokens: number of kinds of token.
        answers: number of kinds of answer.
        length: T of the longest sequences that are learnt from.
        lengths: every T that is tested; by default half of `length`, `length`, twice and four times as much.
        least: the shortest T that can be made.
        multiple: common divisor of every T.
        shortest: the shortest T that is learnt from; by default half of `length`.
    """

    causal_only = False
    """True where answers stand among later tokens, so that the task is one for causal models only."""

    def __init__(
        self,
        *,
        tokens: int,
        answers: int,
        length: int,
        least: int,
        lengths: tuple[int, ...] = (),
        multiple: int = 1,
        shortest: int | None = None,
    ) -> None:
        self.tokens, self.answers, self.length, self.least = tokens, answers, length, least
        self.lengths = lengths or (length // 2, length, 2 * length, 4 * length)
        self.multiple = multiple
        self.shortest = max(least, length // 2 if shortest is None else shortest)
        self._check(length)

    def training_length(self, random: torch.Generator) -> int:
        """A T to learn from, at random between `shortest` and `length`, so that no place has a meaning."""
        steps = (self.length - self.shortest) // self.multiple
        return self.length - self.multiple * int(torch.randint(steps + 1, (), generator=random))

    def examples(
        self, count: int, random: torch.Generator, *, length: int | None = None, split: str = "train"
    ) -> Examples:
        """New examples.

        Arguments:
            count: number of sequences, B.
            random: generator of all that is random.
            length: T; by default the task's own.
            split: train or held_out, for a task over a fixed set of data; generated examples are always new.
        """
        length = self.length if length is None else length
        self._check(length)
        if count < 1:
            raise UserError(f"{count} examples were asked for", "at least 1 was expected")
        if split not in SPLITS:
            raise UserError(f"split {split!r} was given", f"one of {', '.join(SPLITS)} was expected")
        return self.draw(count, length, random, split)

    def _check(self, length: int) -> None:
        if length < self.least or length % self.multiple:
            raise UserError(
                f"length {length} was given to {type(self).__name__}",
                f"at least {self.least}, a multiple of {self.multiple}, was expected",
            )

    @abstractmethod
    def draw(self, count: int, length: int, random: torch.Generator, split: str) -> Examples:
        """The examples of valid arguments of `examples`, in order."""


def subsets(count: int, size: int, of: int, random: torch.Generator) -> Int[Tensor, "B size"]:
    """Ordered samples without replacement from `of` numbers, a row each.

    Example:
        >>> subsets(1, 3, 3, torch.Generator()).sort().values
        tensor([[0, 1, 2]])
    """
    return torch.rand(count, of, generator=random).argsort(1)[:, :size]
