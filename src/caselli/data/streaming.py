"""Pictures streamed from shards, in an order that is a function of seed, step and rank."""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from caselli.data.augment import Augment
from caselli.data.pictures import Bad, Batch
from caselli.data.pixels import to_float
from caselli.data.shards import Shards
from caselli.data.shuffle import drawn_captions, generator
from caselli.data.store import PREFETCH
from caselli.data.workers import WorkerPool, ahead
from caselli.decoding import BadPicture, Location
from caselli.errors import UserError
from caselli.shapes import Float, Int, Shaped, Tensor

BUFFER = 4096
"""Pictures that are shuffled among each other at a time, unless another number is asked for."""
NAMED = 100
"""Bad pictures that are named; others are only counted."""


@dataclasses.dataclass(frozen=True)
class StreamOrder:
    """Order of a stream: shards permuted in every epoch, each rank's part read from its first picture to its
    last, and shuffled within buffers.

    Any step can be computed without those before it. Of an epoch, the pictures that do not fill a step on
    every rank are left out; which they are changes from epoch to epoch.

    Example:
        >>> order = StreamOrder((3, 2, 3), 2, seed=0, buffer=4)
        >>> torch.cat([order.at(step) for step in range(4)]).sort().values
        tensor([0, 1, 2, 3, 4, 5, 6, 7])
    """

    counts: tuple[int, ...]
    """Number of pictures in each shard."""
    batch: int
    """Pictures of a step, all ranks together."""
    seed: int = 0
    rank: int = 0
    ranks: int = 1
    buffer: int = BUFFER

    def __post_init__(self) -> None:
        if self.batch < 1 or self.batch % self.ranks:
            expected = f"a multiple of the {self.ranks} processes" if self.ranks > 1 else "at least 1"
            raise UserError(f"a batch of {self.batch} was given", f"{expected} was expected")
        if not self.steps:
            raise UserError(
                f"a batch of {self.batch} of {sum(self.counts)} pictures was given",
                "no more pictures than there are were expected",
            )

    @property
    def own(self) -> int:
        """Pictures of this rank in a step."""
        return self.batch // self.ranks

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return sum(self.counts) // self.ranks // self.own

    def at(self, step: int) -> Int[Tensor, "b"]:
        """The pictures of this rank at a step, from 0."""
        epoch, within = divmod(step, self.steps)
        window = max(1, self.buffer // self.own)
        number, place = divmod(within, window)
        return self._window(epoch, number)[place * self.own : (place + 1) * self.own]

    def own_rows(self, rows: Tensor) -> Tensor:
        """This rank's part of what belongs to the batch of all."""
        return rows.chunk(self.ranks)[self.rank]

    def _window(self, epoch: int, number: int) -> Int[Tensor, "n"]:
        return _window(self, epoch, number)


@functools.lru_cache(maxsize=4)
def _window(order: StreamOrder, epoch: int, number: int) -> Int[Tensor, "n"]:
    """A buffer's pictures, shuffled."""
    steps = max(1, order.buffer // order.own)
    length = min(steps, order.steps - number * steps) * order.own
    begin = order.rank * order.steps * order.own + number * steps * order.own
    shards = torch.randperm(len(order.counts), generator=generator("shards", order.seed, epoch)).tolist()
    ends = list(itertools.accumulate(order.counts[shard] for shard in shards))
    firsts = [0, *itertools.accumulate(order.counts)]
    found, place = [], begin
    while place < begin + length:
        turn = bisect.bisect_right(ends, place)
        shard, until = shards[turn], min(begin + length, ends[turn])
        first = firsts[shard] + place - (ends[turn] - order.counts[shard])
        found.append(torch.arange(first, first + until - place))
        place = until
    key = ("buffer", order.seed, epoch, number, order.rank)
    return torch.cat(found)[torch.randperm(length, generator=generator(*key))]


@dataclasses.dataclass(frozen=True)
class Streamed:
    """Pictures of a step as they were read."""

    pixels: Shaped[Tensor, "n C H W"]
    indices: Int[Tensor, "n"]
    """Numbers of the pictures; that of another one in the place of a bad one."""
    told: Sequence[dict[str, Any]]
    """Labels, captions and keys that the shard tells of each."""


class PictureStream:
    """A set of pictures that is read shard by shard, and of which no list is kept.

    A picture that cannot be decoded is replaced by its neighbour in the batch, and counted.

    Arguments:
        shards: where the pictures lie.
        size: side in pixels.
        channels: 1 (grey) or 3 (colour).
        buffer: pictures that are shuffled among each other at a time.
        workers: processes that decode; 0 for none.
    """

    def __init__(
        self, shards: Shards, size: int, channels: int, buffer: int = BUFFER, workers: int = 0
    ) -> None:
        self.shards, self.size, self.channels = shards, size, channels
        self.buffer, self.workers = buffer, workers
        self.name, self.classes, self.fingerprint = shards.name, shards.classes, shards.fingerprint
        self.firsts = [0, *itertools.accumulate(shards.counts)]
        self.numbers = {name: number for number, name in enumerate(self.classes)}
        self.lists: dict[int, Sequence[dict[str, Any]]] = {}
        """The lists of the shards that were read last, the newest at the end."""
        self.bad: list[Bad] = []
        """The first bad pictures that were met."""
        self.skipped = 0
        """Number of bad pictures that were met."""

    def __len__(self) -> int:
        return self.firsts[-1]

    def words(self) -> list[str]:
        """Sentences on bad pictures that were met; none where all were good."""
        if not self.skipped:
            return []
        first = self.bad[0]
        return [f"{self.skipped} times a picture could not be read ({first.name}: {first.reason}, ...)"]

    def order(self, batch: int, seed: int, rank: int, ranks: int) -> StreamOrder:
        """The order in which batches are read."""
        return StreamOrder(self.shards.counts, batch, seed, rank, ranks, self.buffer)

    def read(self, indices: Int[Tensor, "n"]) -> Streamed:
        """Pictures by their numbers."""
        return next(self._stream([indices], 0))

    def stream(self, requests: Iterable[Int[Tensor, "n"]]) -> Iterator[Streamed]:
        """`read` of each request in turn, decoded ahead of need; close it to end its workers."""
        return self._stream(requests, self.workers)

    def batch(self, indices: Int[Tensor, "n"]) -> Batch:
        """Pictures by their numbers in [-1, 1], with their labels and captions."""
        return self.assemble(indices, self.read(indices), None, None)

    def assemble(
        self,
        indices: Int[Tensor, "n"],
        read: Streamed,
        moves: Int[Tensor, "n 3"] | None,
        lots: Float[Tensor, "n"] | None,
    ) -> Batch:
        """The batch of pictures that were read, moved by an augmentation where there is one."""
        labels = captions = None
        if self.classes:
            labels = torch.tensor([self.numbers[told["label"]] for told in read.told])
        if self.shards.captioned:
            several = [told.get("captions", (told.get("caption", ""),)) for told in read.told]
            first = [one[0] for one in several]
            captions = drawn_captions(first, several, torch.arange(len(several)), lots)
        return Batch(to_float(Augment.apply(read.pixels, moves)), labels, captions, read.indices)

    def _stream(self, requests: Iterable[Tensor], workers: int) -> Iterator[Streamed]:
        with WorkerPool(workers) as pool:
            begun = ahead(lambda indices: self._begun(pool, indices), requests, PREFETCH if workers else 1)
            yield from begun

    def _begun(self, pool: WorkerPool, indices: Tensor) -> Any:
        told = [self._told(number) for number in indices.tolist()]
        places: list[Location] = [one["location"] for one in told]
        answers = pool.ask("pixels", places, (self.channels, self.size, self.size), self.shards.whites)
        return lambda: self._joined(indices, told, *answers())

    def _told(self, number: int) -> dict[str, Any]:
        shard = bisect.bisect_right(self.firsts, number) - 1
        return self._listing(shard)[number - self.firsts[shard]]

    def _listing(self, shard: int) -> Sequence[dict[str, Any]]:
        """The list of a shard, kept as long as two buffers may need it: what lies wholly in them, and the
        shards at their ends."""
        if shard in self.lists:
            self.lists[shard] = self.lists.pop(shard)
            return self.lists[shard]
        self.lists[shard] = self.shards.listing(shard)
        sizes = [self.shards.counts[one] for one in self.lists]
        spare = sum(sizes) - 2 * self.buffer - 2 * max(sizes)
        for size in sizes:
            if spare < size:
                break
            spare -= size
            del self.lists[next(iter(self.lists))]
        return self.lists[shard]

    def _joined(
        self, indices: Tensor, told: Sequence[dict], answers: Sequence[bytes | BadPicture], pixels: Tensor
    ) -> Streamed:
        if self.classes:
            lacking = BadPicture("has no label")
            answers = [a if "label" in one else lacking for a, one in zip(answers, told, strict=True)]
        good = [i for i, answer in enumerate(answers) if isinstance(answer, bytes)]
        if len(good) == len(answers):
            return Streamed(pixels, indices, told)
        for i, answer in enumerate(answers):
            if isinstance(answer, BadPicture):
                self.skipped += 1
                self.bad += [Bad(told[i]["name"], str(answer))] * (len(self.bad) < NAMED)
        if not good:
            raise UserError(
                f"none of {len(answers)} pictures of {self.name} can be read ({answers[0]})",
                "pictures were expected",
            )
        taken = [i if i in set(good) else good[i % len(good)] for i in range(len(answers))]
        return Streamed(pixels[taken], indices[taken], [told[i] for i in taken])
