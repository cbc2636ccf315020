"""Batches of any set of samples, in an order that is a function of seed and step."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar

import torch

from caselli.data.augment import Augment
from caselli.data.shuffle import generator
from caselli.shapes import Float, Int, Tensor

Batch = TypeVar("Batch")


class Order(Protocol):
    """Samples of a rank at each step, a function of the seed and the step alone."""

    batch: int
    """Samples of a step, all ranks together."""
    seed: int
    """Seed of the order."""

    def at(self, step: int) -> Int[Tensor, "b"]:
        """Numbers of this rank's samples at a step."""

    def own_rows(self, rows: Tensor) -> Tensor:
        """This rank's part of what belongs to the batch of all."""


class Samples(Protocol[Batch]):
    """A set of samples: how they are read, and what a batch of them is."""

    def __len__(self) -> int: ...

    def order(self, batch: int, seed: int, rank: int, ranks: int) -> Order:
        """The order in which batches of the set are read."""

    def read(self, indices: Int[Tensor, "n"]) -> Tensor:
        """Pixels or codes of the samples."""

    def stream(self, requests: Iterable[Int[Tensor, "n"]]) -> Iterator[Tensor]:
        """`read` of each request in turn, perhaps ahead of need; closing the generator ends its workers."""

    def assemble(
        self,
        indices: Int[Tensor, "n"],
        read: Tensor,
        moves: Int[Tensor, "n 3"] | None,
        lots: Float[Tensor, "n"] | None,
    ) -> Batch:
        """The batch of samples that have been read, changed by an augmentation's moves if there are any; lots
        in [0, 1) choose where a sample has several captions."""


class Batches(Generic[Batch]):
    """Batches of a set, each a function of seed and step alone.

    Arguments:
        samples: the set: pictures, pictures with masks, or codes.
        batch: samples of a step, all ranks together.
        seed: seed of the order and of the augmentation.
        augment: random changes of pictures; masks are changed with them.
        rank: number of this process, 0 … ranks − 1; it gets its part of every batch.
        ranks: number of processes that share a batch. The parts joined are the same for any number.

    Example:
        >>> import torch
        >>> from caselli.data import Pictures
        >>> pictures = Pictures.of("greys", torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1))
        >>> Batches(pictures, 2).at(7).pictures.shape
        torch.Size([2, 1, 1, 1])
    """

    def __init__(
        self,
        samples: Samples[Batch],
        batch: int,
        *,
        seed: int = 0,
        augment: Augment = Augment(),  # noqa: B008  (frozen)
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.shares = samples.order(batch, seed, rank, ranks)
        self.samples, self.augment = samples, augment

    def at(self, step: int) -> Batch:
        """The batch of a step, from 0."""
        return self._assembled(step, self.samples.read(self.shares.at(step)))

    def stream(self, start: int = 0) -> Iterator[Batch]:
        """`at(start)`, `at(start + 1)`, … without end, read ahead of need where the set is not in memory.

        Close the generator (or drop it) to end its workers.
        """
        requests = map(self.shares.at, itertools.count(start))
        with contextlib.closing(self.samples.stream(requests)) as contents:
            for step, read in zip(itertools.count(start), contents, strict=False):
                yield self._assembled(step, read)

    def _assembled(self, step: int, read: Any) -> Batch:
        moves = None
        if self.augment != Augment():
            drawn = self.augment.draw(self.shares.batch, generator("augment", self.shares.seed, step))
            moves = self.shares.own_rows(drawn)
        lots = torch.rand(self.shares.batch, generator=generator("captions", self.shares.seed, step))
        return self.samples.assemble(self.shares.at(step), read, moves, self.shares.own_rows(lots))
