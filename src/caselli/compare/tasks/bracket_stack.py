"""A stack: which bracket is open?"""

from __future__ import annotations

import torch

from caselli.compare.tasks.base import Examples, SequenceTask

CLOSE = 0


class BracketStack(SequenceTask):
    """Brackets of several kinds, closed without saying which; every token asks what is open on the inside.

    The walk is a Dyck word's beginning: it opens or closes at random, opens when nothing is open, and closes
    at the largest depth.

    Arguments:
        kinds: of brackets.
        depth: the largest number that is open at once.
        length: T.

    Source: Hewitt et al. 2020, RNNs Can Generate Bounded Hierarchical Languages with Optimal Memory.

    Example:
        >>> made = BracketStack(kinds=2, length=6).examples(1, torch.Generator().manual_seed(3))
        >>> made.tokens.tolist(), made.answers.tolist()
        ([[1, 1, 2, 2, 0, 1]], [[1, 1, 2, 2, 2, 1]])
    """

    def __init__(self, kinds: int = 4, depth: int = 8, length: int = 64) -> None:
        self.kinds, self.depth = kinds, depth
        lengths = (length, 2 * length, 4 * length, 16 * length)
        super().__init__(tokens=kinds + 1, answers=kinds + 1, length=length, lengths=lengths, least=1)

    def draw(self, count, length, random, split):
        opened = torch.randint(1, self.kinds + 1, (count, length), generator=random)
        closing = torch.rand(count, length, generator=random) < 0.5
        stack = torch.zeros(count, self.depth + 1, dtype=torch.int64)
        height, row, answers = torch.zeros(count, dtype=torch.int64), torch.arange(count), []
        for t in range(length):
            close = (height > 0) & (closing[:, t] | (height == self.depth))
            opened[close, t] = CLOSE
            height = torch.where(close, height - 1, height + 1)
            stack[row[~close], height[~close]] = opened[~close, t]
            answers.append(stack[row, height])
        return Examples(opened, torch.stack(answers, 1))
