"""Induction heads: the mark at the end asks for the symbol that followed the first mark."""

from __future__ import annotations

import torch

from caselli.compare.tasks.base import Examples, SequenceTask

MARK = 0


class InductionHeads(SequenceTask):
    """Random symbols with one mark among them; the mark again at the end asks for what followed it.

    Arguments:
        symbols: number of kinds.
        length: T, both marks included.

    Sources: Olsson et al. 2022, In-context Learning and Induction Heads; Fu et al. 2023, Hungry Hungry
    Hippos: Towards Language Modeling with State Space Models.

    Example:
        >>> made = InductionHeads(symbols=4, length=6).examples(1, torch.Generator().manual_seed(1))
        >>> made.tokens.tolist(), made.answers[:, -1].tolist()
        ([[2, 4, 1, 0, 4, 0]], [3])
    """

    def __init__(self, symbols: int = 16, length: int = 64) -> None:
        self.symbols = symbols
        super().__init__(tokens=symbols + 1, answers=symbols, length=length, least=3)

    def draw(self, count, length, random, split):
        tokens = torch.randint(1, self.symbols + 1, (count, length), generator=random)
        mark = torch.randint(length - 2, (count, 1), generator=random)
        answers = tokens.gather(1, mark + 1) - 1
        tokens.scatter_(1, mark, MARK)
        tokens[:, -1] = MARK
        return Examples.asked_last(tokens, answers)
