"""Batches of pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator

import torch

from caselli.data.order import Shares, generator
from caselli.data.pictures import Batch, Pictures
from caselli.errors import UserError
from caselli.shapes import Int, Shaped, Tensor


@dataclasses.dataclass(frozen=True)
class Augment:
    """Small random changes of each picture.

    Example:
        >>> pictures = torch.arange(3, dtype=torch.uint8).view(1, 1, 1, 3)
        >>> moves = Augment(flip=True).draw(1, generator("a"))
        >>> Augment.apply(pictures, moves).flatten().tolist() in ([0, 1, 2], [2, 1, 0])
        True
    """

    flip: bool = False
    """Left and right change places for half of the pictures."""
    shift: int = 0
    """The picture is moved by up to this many pixels along each axis; what is laid bare repeats the edge."""

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise UserError(f"shift {self.shift} was given", "0 pixels or more were expected")

    def draw(self, batch: int, random: torch.Generator) -> Int[Tensor, "B 3"]:
        """Flip (0 or 1), and the moves down and right, of each picture."""
        flips = torch.randint(2, (batch, 1), generator=random) * self.flip
        moves = torch.randint(-self.shift, self.shift + 1, (batch, 2), generator=random)
        return torch.cat([flips, moves], 1)

    @staticmethod
    def apply(pictures: Shaped[Tensor, "B C H W"], moves: Int[Tensor, "B 3"]) -> Shaped[Tensor, "B C H W"]:
        """The pictures flipped, then moved."""
        height, width = pictures.shape[-2:]
        rows = (torch.arange(height) - moves[:, 1:2]).clamp(0, height - 1)
        columns = (torch.arange(width) - moves[:, 2:3]).clamp(0, width - 1)
        columns = torch.where(moves[:, :1] > 0, width - 1 - columns, columns)
        picture = torch.arange(len(pictures))[:, None, None]
        return pictures.movedim(1, -1)[picture, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


class Batches:
    """Batches of a set of pictures, each a function of seed and step alone.

    Arguments:
        pictures: the set.
        batch: pictures of a step, all ranks together.
        seed: of the order and of the augmentation.
        augment: random changes of the pictures.
        rank: this process, 0 … ranks − 1; it gets its part of every batch.
        ranks: how many processes share a batch. The parts joined are the same for any number.

    Example:
        >>> pictures = Pictures.of("greys", torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1))
        >>> batches = Batches(pictures, 2)
        >>> batches.at(7).pictures.shape
        torch.Size([2, 1, 1, 1])
    """

    def __init__(
        self,
        pictures: Pictures,
        batch: int,
        *,
        seed: int = 0,
        augment: Augment = Augment(),
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.shares = Shares(len(pictures), batch, seed, rank, ranks)
        self.pictures, self.augment = pictures, augment

    def at(self, step: int) -> Batch:
        """The batch of a step, from 0."""
        return self._finished(step, self.pictures.read(self.shares.at(step)))

    def stream(self, start: int = 0) -> Iterator[Batch]:
        """`at(start)`, `at(start + 1)`, … without end, decoded ahead of need where the set is not in memory.

        Close the generator (or drop it) to end its workers.
        """
        requests = map(self.shares.at, itertools.count(start))
        with contextlib.closing(self.pictures.stream(requests)) as pixels:
            for step, read in zip(itertools.count(start), pixels, strict=False):
                yield self._finished(step, read)

    def _finished(self, step: int, pixels: Tensor) -> Batch:
        indices = self.shares.at(step)
        if self.augment != Augment():
            moves = self.augment.draw(self.shares.batch, generator("augment", self.shares.seed, step))
            pixels = Augment.apply(pixels, self.shares.own(moves))
        return self.pictures.described(indices, pixels)
