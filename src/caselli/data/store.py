"""Stores of a set's pixels: in memory, or in files that are decoded when read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence

from caselli.data.shuffle import picked
from caselli.data.workers import Answered, WorkerPool, ahead
from caselli.decoding import BY_PICTURE, BadPicture, Location, Whites
from caselli.errors import UserError
from caselli.shapes import Int, Shaped, Tensor

PREFETCH = 4
"""Batches that are decoded before they are needed."""


class Store(ABC):
    """Holds the pixels of a set."""

    size: int
    channels: int
    in_memory: bool

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, indices: Int[Tensor, "n"]) -> Shaped[Tensor, "n C H W"]:
        """The pictures of the given indices, uint8, in that order."""

    @abstractmethod
    def stream(self, requests: Iterable[Int[Tensor, "n"]]) -> Iterator[Shaped[Tensor, "n C H W"]]:
        """`read` of each request in turn, worked on ahead of need; close it to end its workers."""

    @abstractmethod
    def subset(self, indices: Int[Tensor, "n"]) -> Store:
        """A store of those pictures alone."""


class MemoryStore(Store):
    """All pictures decoded, as one uint8 tensor."""

    in_memory = True

    def __init__(self, pixels: Shaped[Tensor, "n C H W"]) -> None:
        self.pixels = pixels
        self.channels, self.size = pixels.shape[1], pixels.shape[-1]

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: Int[Tensor, "n"]) -> Shaped[Tensor, "n C H W"]:
        return self.pixels[indices]

    def stream(self, requests: Iterable[Int[Tensor, "n"]]) -> Iterator[Shaped[Tensor, "n C H W"]]:
        yield from map(self.read, requests)

    def subset(self, indices: Int[Tensor, "n"]) -> MemoryStore:
        return MemoryStore(self.pixels[indices])


class FileStore(Store):
    """Pictures that stay in their files and are decoded when read, in place or by workers."""

    in_memory = False

    def __init__(
        self,
        locations: Sequence[Location],
        size: int,
        channels: int,
        workers: int,
        whites: Whites = BY_PICTURE,
    ) -> None:
        self.locations, self.size, self.channels, self.workers = locations, size, channels, workers
        self.whites = whites

    def __len__(self) -> int:
        return len(self.locations)

    def read(self, indices: Int[Tensor, "n"]) -> Shaped[Tensor, "n C H W"]:
        return next(self._stream([indices], workers=0))

    def stream(self, requests: Iterable[Int[Tensor, "n"]]) -> Iterator[Shaped[Tensor, "n C H W"]]:
        return self._stream(requests, self.workers)

    def _stream(self, requests: Iterable[Tensor], workers: int) -> Iterator[Tensor]:
        with WorkerPool(workers) as pool:
            yield from ahead(lambda indices: self._begun(pool, indices), requests, PREFETCH if workers else 1)

    def _begun(self, pool: WorkerPool, indices: Tensor) -> Callable[[], Tensor]:
        """Calling what it returns waits for the workers."""
        places = picked(self.locations, indices)
        answers = pool.ask("pixels", places, (self.channels, self.size, self.size), self.whites)
        return lambda: self._checked(places, answers())

    def _checked(self, places: Sequence[Location], answered: Answered) -> Tensor:
        for place, answer in zip(places, answered.answers, strict=True):
            if isinstance(answer, BadPicture):
                raise UserError(
                    f"{place.path}: {answer}",
                    "a picture that could be read when the set was opened was expected",
                    "leave the files as they are while they are used",
                )
        return answered.pixels

    def subset(self, indices: Int[Tensor, "n"]) -> FileStore:
        return FileStore(picked(self.locations, indices), self.size, self.channels, self.workers, self.whites)
