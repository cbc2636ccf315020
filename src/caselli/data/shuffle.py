"""The shuffled order of samples, a pure function of seed and step."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import torch

from caselli.errors import UserError
from caselli.shapes import Float, Int, Tensor


def generator(*key: int | str) -> torch.Generator:
    """A random generator of its own for every key, on the CPU.

    Example:
        >>> torch.equal(*(torch.rand(2, generator=generator("a", 1)) for _ in range(2)))
        True
    """
    seed = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(seed, "big") >> 1)


def spread(count: int, most: int) -> Int[Tensor, "n"]:
    """At most so many of `count` indices, evenly spread from the first to the last.

    Example:
        >>> spread(10, 4)
        tensor([0, 3, 6, 9])
    """
    return torch.linspace(0, count - 1, min(count, most)).round().long().unique()


def indices_at(count: int, batch: int, seed: int, step: int) -> Int[Tensor, "B"]:
    r"""Indices of the samples in the batch of a step.

    .. math:: i_b = \pi_{\lfloor p / n \rfloor}(p \bmod n), \qquad p = \mathrm{step} \cdot B + b

    with a permutation π of all n samples for every epoch, drawn from the seed and the epoch. Every epoch sees
    every sample once; a batch may straddle epochs; any step can be computed without those before it.

    Arguments:
        count: n, number of samples.
        batch: B, samples in a batch.
        seed: seed of the order.
        step: from 0.

    Example:
        >>> joined = torch.cat([indices_at(6, 4, 0, step) for step in range(3)])
        >>> joined[:6].sort().values, joined[6:].sort().values
        (tensor([0, 1, 2, 3, 4, 5]), tensor([0, 1, 2, 3, 4, 5]))
    """
    if count < 1 or batch < 1:
        raise UserError(f"batches of {batch} from {count} samples were asked for", "at least 1 was expected")
    positions = torch.arange(step * batch, (step + 1) * batch)
    epochs = positions // count
    parts = [
        _permutation(count, seed, epoch)[positions[epochs == epoch] % count].long()
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1)
    ]
    return torch.cat(parts)


@functools.lru_cache(maxsize=2)  # of ten million samples, 40 MB each
def _permutation(count: int, seed: int, epoch: int) -> Int[Tensor, "n"]:
    order = torch.randperm(count, generator=generator("order", seed, epoch))
    return order.int() if count < 1 << 31 else order


@dataclasses.dataclass(frozen=True)
class Shares:
    """Samples of a rank at each step: its consecutive part of the global batch.

    Example:
        >>> parts = [Shares(6, 4, rank=rank, ranks=2).at(0) for rank in range(2)]
        >>> torch.equal(torch.cat(parts), indices_at(6, 4, 0, 0))
        True
    """

    count: int
    """Number of samples."""
    batch: int
    """Samples of a step, all ranks together."""
    seed: int = 0
    """Seed of the order."""
    rank: int = 0
    """Number of this process, 0 … ranks − 1."""
    ranks: int = 1
    """Number of processes that share a batch."""

    def __post_init__(self) -> None:
        assert 0 <= self.rank < self.ranks, (self.rank, self.ranks)
        if self.count < 1:
            raise UserError("the set is empty", "at least one sample was expected")
        if self.batch < 1 or self.batch % self.ranks:
            expected = f"a multiple of the {self.ranks} processes" if self.ranks > 1 else "at least 1"
            raise UserError(f"a batch of {self.batch} was given", f"{expected} was expected")

    def at(self, step: int) -> Int[Tensor, "b"]:
        """The samples of this rank at a step, from 0."""
        return self.own_rows(indices_at(self.count, self.batch, self.seed, step))

    def own_rows(self, rows: Tensor) -> Tensor:
        """This rank's part of what belongs to the global batch."""
        return rows.chunk(self.ranks)[self.rank]


def drawn_captions(
    captions: Sequence[str] | None,
    all_captions: Sequence[Sequence[str]] | None,
    indices: Int[Tensor, "n"],
    lots: Float[Tensor, "n"] | None,
) -> tuple[str, ...] | None:
    """A caption of each picture: the one that its lot in [0, 1) falls on, or without lots the first.

    Example:
        >>> drawn_captions(["a", "c"], [["a", "b"], ["c"]], torch.tensor([1, 0]), torch.tensor([0.9, 0.9]))
        ('c', 'b')
    """
    if all_captions is None or lots is None:
        return picked(captions, indices)
    several = picked(all_captions, indices)
    return tuple(some[int(lot * len(some))] for some, lot in zip(several, lots.tolist(), strict=True))


def picked(values: Tensor | Sequence | None, indices: Int[Tensor, "n"]) -> Tensor | tuple | None:
    """The values at those indices: of a tensor a tensor, of a sequence a tuple, of nothing nothing.

    Example:
        >>> picked(["a", "b", "c"], torch.tensor([2, 0]))
        ('c', 'a')
    """
    if values is None or isinstance(values, Tensor):
        return None if values is None else values[indices]
    return tuple(values[i] for i in indices.tolist())
