"""Copying backwards: what came last is asked for first."""

from __future__ import annotations

import torch

from caselli.compare.tasks.base import NOTHING, Examples, SequenceTask

MARK = 0


class BackwardCopying(SequenceTask):
    """Random symbols, then as many marks: the i-th asks for the i-th symbol from the end.

    Arguments:
        symbols: how many kinds there are.
        length: T, half of it marks.

    Source: Delétang et al. 2022, Neural Networks and the Chomsky Hierarchy.

    Example:
        >>> made = BackwardCopying(symbols=3, length=6).examples(1, torch.Generator().manual_seed(0))
        >>> made.tokens.tolist(), made.answers.tolist()
        ([[3, 1, 3, 0, 0, 0]], [[-100, -100, -100, 2, 0, 2]])
    """

    def __init__(self, symbols: int = 8, length: int = 64) -> None:
        self.symbols = symbols
        lengths = (length, 2 * length, 4 * length, 16 * length)
        super().__init__(
            tokens=symbols + 1, answers=symbols, length=length, lengths=lengths, least=2, multiple=2
        )

    def draw(self, count, length, random, split):
        symbols = torch.randint(self.symbols, (count, length // 2), generator=random)
        tokens = torch.cat((symbols + 1, torch.full_like(symbols, MARK)), 1)
        return Examples(tokens, torch.cat((torch.full_like(symbols, NOTHING), symbols.flip(1)), 1))
