"""A needle among needles: one of several labelled values, hidden in noise."""

from __future__ import annotations

import torch

from caselli.compare.tasks.base import NOTHING, Examples, SequenceTask, subsets

MARK = 0


class Needles(SequenceTask):
    """Noise with a few needles, each a mark, a key and a value; a mark and a key at the end ask for a value.

    Arguments:
        needles: how many there are, with different keys.
        keys, values, noise: how many kinds there are of each.
        length: T.

    Source: Hsieh et al. 2024, RULER: What's the Real Context Size of Your Long-Context Language Models?

    Example:
        >>> task = Needles(needles=2, keys=2, values=2, noise=2, length=10)
        >>> made = task.examples(1, torch.Generator().manual_seed(1))
        >>> made.tokens.tolist(), made.answers[0, -1].item()
        ([[6, 0, 2, 3, 6, 0, 1, 4, 0, 2]], 0)
    """

    def __init__(
        self, needles: int = 6, keys: int = 16, values: int = 16, noise: int = 16, length: int = 64
    ) -> None:
        self.needles, self.keys, self.values, self.noise = needles, keys, values, noise
        lengths = (length, 2 * length, 4 * length, 16 * length)
        super().__init__(
            tokens=1 + keys + values + noise,
            answers=values,
            length=length,
            lengths=lengths,
            least=3 * needles + 2,
        )

    def draw(self, count, length, random, split):
        first = 1 + self.keys + self.values
        tokens = torch.randint(first, first + self.noise, (count, length), generator=random)
        free = length - 2 - 2 * self.needles  # where needles begin, when each is counted as one token
        begin = subsets(count, self.needles, free, random).sort(1).values + 2 * torch.arange(self.needles)
        keys = 1 + subsets(count, self.needles, self.keys, random)
        values = torch.randint(self.values, (count, self.needles), generator=random)
        for offset, part in enumerate((torch.full_like(keys, MARK), keys, 1 + self.keys + values)):
            tokens.scatter_(1, begin + offset, part)
        asked = torch.randint(self.needles, (count, 1), generator=random)
        tokens[:, -2] = MARK
        tokens[:, -1:] = keys.gather(1, asked)
        answers = torch.full((count, length), NOTHING)
        answers[:, -1:] = values.gather(1, asked)
        return Examples(tokens, answers)
