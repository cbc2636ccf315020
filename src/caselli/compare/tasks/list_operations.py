"""Nested operations on lists of digits, in the style of ListOps."""

from __future__ import annotations

import random as python_random
from collections.abc import Callable

import torch

from caselli.compare.tasks.base import Examples, SequenceTask

PAD, END, EQUALS, DIGIT = 0, 1, 2, 3
"""Tokens: nothing, the end of a list, the question, and the first of ten digits; operations follow these."""
OPERATIONS: dict[str, Callable[[list[int]], int]] = {
    "MAX": max,
    "MIN": min,
    "MED": lambda digits: sorted(digits)[len(digits) // 2],
    "SM": lambda digits: sum(digits) % 10,
}
"""Largest, smallest and middle digit (the upper of two) of a list, and its sum modulo ten."""
WORDS = ("", "]", "=", *"0123456789", *(f"[{name}" for name in OPERATIONS))


class ListOperations(SequenceTask):
    """Nested operations on lists of digits, such as `[MAX 2 [MIN 4 7 ] 0 ] =`, whose result is asked for.

    Expressions fill up to T tokens, from the right; shorter ones are padded in front.

    Arguments:
        depth: largest depth of lists in lists.
        arguments: largest number of arguments of an operation.
        length: T, the question included.

    Source: Nangia and Bowman 2018, ListOps: A Diagnostic Dataset for Latent Tree Learning.

    Example:
        >>> made = ListOperations(length=12).examples(1, torch.Generator().manual_seed(3))
        >>> spelled(made.tokens[0]), made.answers[0, -1].item()
        ('[MIN 5 8 0 ] =', 0)
    """

    def __init__(self, depth: int = 3, arguments: int = 5, length: int = 48) -> None:
        self.depth, self.arguments = depth, arguments
        lengths = (length // 2, length, 2 * length)
        super().__init__(tokens=len(WORDS), answers=10, length=length, lengths=lengths, least=5)

    def draw(self, count, length, random, split):
        chance = python_random.Random(torch.randint(2**62, (1,), generator=random).item())
        tokens, answers = torch.full((count, length), PAD), []
        for row in tokens:
            words, value = self._list(chance, length - 1, self.depth)
            row[-len(words) - 1 :] = torch.tensor([*words, EQUALS])
            answers.append([value])
        return Examples.asked_last(tokens, torch.tensor(answers))

    def _list(self, chance: python_random.Random, room: int, depth: int) -> tuple[list[int], int]:
        """Tokens and value of an operation in at most `room` ≥ 4 tokens."""
        number = chance.randrange(len(OPERATIONS))
        count = chance.randint(2, min(self.arguments, room - 2))
        words, values, room = [DIGIT + 10 + number], [], room - 2
        for left in range(count - 1, -1, -1):
            part, value = self._argument(chance, room - left, depth - 1)
            words += part
            values.append(value)
            room -= len(part)
        return [*words, END], list(OPERATIONS.values())[number](values)

    def _argument(self, chance: python_random.Random, room: int, depth: int) -> tuple[list[int], int]:
        if depth and room >= 4 and chance.random() < 0.5:
            return self._list(chance, chance.randint(4, room), depth)
        digit = chance.randrange(10)
        return [DIGIT + digit], digit


def spelled(tokens: torch.Tensor) -> str:
    """The words of an expression.

    Example:
        >>> spelled(torch.tensor([PAD, DIGIT + 13, DIGIT + 4, DIGIT + 9, END, EQUALS]))
        '[SM 4 9 ] ='
    """
    return " ".join(WORDS[token] for token in tokens.tolist() if token != PAD)
