"""Selective copying: repeat, in order, the few symbols that stood among noise."""

from __future__ import annotations

import torch

from caselli.compare.tasks.base import Examples, SequenceTask, subsets

NOISE, MARK = 0, 1


class SelectiveCopying(SequenceTask):
    """A few symbols at random places among noise, then as many marks: the i-th asks for the i-th symbol.

    Noise is told from symbols by the token and not by its place, so a filter that treats all places alike
    cannot leave it out.

    Arguments:
        content: number of symbols to remember.
        symbols: number of kinds of symbol.
        length: T, the marks included.

    Sources: Arjovsky, Shah and Bengio 2016, Unitary Evolution Recurrent Neural Networks (copying); Gu and Dao
    2023, Mamba: Linear-Time Sequence Modeling with Selective State Spaces.

    Example:
        >>> made = SelectiveCopying(content=2, length=8).examples(1, torch.Generator().manual_seed(0))
        >>> made.tokens.tolist(), made.answers.tolist()
        ([[6, 9, 0, 0, 0, 0, 1, 1]], [[-100, -100, -100, -100, -100, -100, 4, 7]])
    """

    def __init__(self, content: int = 4, symbols: int = 8, length: int = 48) -> None:
        self.content, self.symbols = content, symbols
        super().__init__(tokens=symbols + 2, answers=symbols, length=length, least=2 * content)

    def draw(self, count, length, random, split):
        asked = length - self.content
        symbols = torch.randint(self.symbols, (count, self.content), generator=random)
        places = subsets(count, self.content, asked, random).sort(1).values
        tokens = torch.full((count, length), NOISE).scatter(1, places, symbols + 2)
        tokens[:, asked:] = MARK
        return Examples.asked_last(tokens, symbols)
