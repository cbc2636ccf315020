"""What every task for sequence mixers is: tokens, and what is asked at which of them."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

import torch

from caselli.errors import UserError
from caselli.shapes import Int, Tensor

NOTHING = -100
"""The answer where nothing is asked; what `torch.nn.functional.cross_entropy` ignores."""
SPLITS = ("train", "held_out")


@dataclasses.dataclass(frozen=True)
class Examples:
    """Sequences, and the answers expected at their tokens."""

    tokens: Int[Tensor, "B T"]
    answers: Int[Tensor, "B T"]
    """`NOTHING` where nothing is asked."""


class SequenceTask(ABC):
    """A task that a sequence model learns from examples; the same random generator makes the same examples.

    A method is final and gives `draw`; `TASKS[name]()` builds it with its defaults.

    Arguments:
        tokens: how many kinds of token there are.
        answers: how many kinds of answer.
        length: T of the sequences that are learnt from.
        lengths: every T that it is tested at.
        least: the shortest T that it can make.
        multiple: what divides every T.
        shortest: the shortest T that is learnt from; by default half of `length`.
    """

    causal_only = False
    """Whether an answer stands among later tokens, so that only a causal model has to think."""

    def __init__(
        self,
        *,
        tokens: int,
        answers: int,
        length: int,
        lengths: tuple[int, ...],
        least: int,
        multiple: int = 1,
        shortest: int | None = None,
    ) -> None:
        self.tokens, self.answers, self.length = tokens, answers, length
        self.lengths, self.least, self.multiple = lengths, least, multiple
        self.shortest = max(least, length // 2 if shortest is None else shortest)
        self._check(length)

    def training_length(self, random: torch.Generator) -> int:
        """A length to learn from, between `shortest` and T, so that no place means anything by itself.

        Arguments:
            random: where chance comes from.
        """
        steps = (self.length - self.shortest) // self.multiple
        return self.length - self.multiple * int(torch.randint(steps + 1, (), generator=random))

    def examples(
        self, count: int, random: torch.Generator, *, length: int | None = None, split: str = "train"
    ) -> Examples:
        """New examples.

        Arguments:
            count: B.
            random: where chance comes from.
            length: T; by default the one that is learnt from.
            split: train or held_out, where there is a fixed set of data; what is generated is always new.
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
        """`examples`, with what was asked for in order."""


def subsets(count: int, size: int, of: int, random: torch.Generator) -> Int[Tensor, "B size"]:
    """Ordered draws without replacement, one a row.

    Example:
        >>> subsets(1, 3, 3, torch.Generator()).sort().values
        tensor([[0, 1, 2]])
    """
    return torch.rand(count, of, generator=random).argsort(1)[:, :size]
