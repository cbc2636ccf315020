"""Multi-query associative recall: pairs of key and value, then keys that ask for their values."""

from __future__ import annotations

import torch

from caselli.compare.tasks.base import Examples, SequenceTask, subsets
from caselli.errors import UserError


class AssociativeRecall(SequenceTask):
    """Multi-query associative recall (MQAR): T/4 pairs of key and value, then T/2 keys that ask for theirs.

    A key may be written again, and then its last value counts: a memory that only adds cannot do that. With
    `fresh` no key stands in two pairs, which tests the capacity of the state. The queries are sampled from
    the pairs, so that half of all tokens are questions, and longer sequences have more pairs.

    Arguments:
        keys, values: number of kinds.
        fresh: writes no key twice.
        length: T, a multiple of 4; if fresh, at most four times `keys`.

    Sources: Arora et al. 2024, Zoology: Measuring and Improving Recall in Efficient Language Models; Schlag,
    Irie and Schmidhuber 2021, Linear Transformers Are Secretly Fast Weight Programmers (keys written again).

    Example:
        >>> task = AssociativeRecall(keys=4, values=4, length=12)
        >>> made = task.examples(1, torch.Generator().manual_seed(9))
        >>> made.tokens.tolist(), made.answers[:, 6:].tolist()
        ([[2, 5, 0, 6, 2, 4, 0, 0, 0, 2, 2, 0]], [[2, 2, 2, 0, 0, 2]])
    """

    def __init__(self, keys: int = 8, values: int = 16, *, fresh: bool = False, length: int = 64) -> None:
        self.keys, self.values, self.fresh = keys, values, fresh
        longest = 4 * keys if fresh else 4 * length
        super().__init__(
            tokens=keys + values,
            answers=values,
            length=length,
            lengths=tuple(t for t in (length // 8 * 4, length, 2 * length, 4 * length) if t <= longest),
            least=4,
            multiple=4,
            shortest=length // 16 * 4,
        )

    def draw(self, count, length, random, split):
        pairs = length // 4
        if self.fresh and pairs > self.keys:
            raise UserError(
                f"length {length} and {self.keys} keys were given",
                "at most four times as many tokens as keys were expected",
                "or keys that are written again (fresh=False)",
            )
        if self.fresh:
            keys = subsets(count, pairs, self.keys, random)
        else:
            keys = torch.randint(self.keys, (count, pairs), generator=random)
        values = torch.randint(self.values, (count, pairs), generator=random)
        asked = keys.gather(1, torch.randint(pairs, (count, length // 2), generator=random))
        memory = torch.zeros(count, self.keys, dtype=torch.int64)
        for key, value in zip(keys.split(1, 1), values.split(1, 1), strict=True):
            memory.scatter_(1, key, value)
        stored = torch.stack((keys, values + self.keys), 2).flatten(1)
        return Examples.asked_last(torch.cat((stored, asked), 1), memory.gather(1, asked))
