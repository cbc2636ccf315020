"""The contract of every source of pictures, and what a source that holds arrays does with them."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

from caselli.data.pictures import Pictures
from caselli.data.pixels import with_channels, with_size
from caselli.errors import UserError
from caselli.shapes import Shaped, Tensor

LARGEST = 4096
"""The largest side that may be asked for, in pixels."""


@dataclasses.dataclass(frozen=True)
class Request:
    """Wishes with which a source is opened."""

    size: int | None = None
    """Side of the pictures in pixels; None: the source's own."""
    channels: int | None = None
    """1 (grey), 3 (colour); None: the source's own."""
    workers: int | None = None
    """Decoding processes; None: one a core where it pays; 0: none."""
    seed: int = 0
    """Seed of sets that are drawn."""
    progress: bool = False
    """Shows a bar."""

    def __post_init__(self) -> None:
        if self.size is not None and not 1 <= self.size <= LARGEST:
            raise UserError(f"size {self.size} was given", f"1 to {LARGEST} pixels were expected")
        if self.channels not in (None, 1, 3):
            raise UserError(f"channels {self.channels} was given", "1 (grey) or 3 (colour) was expected")
        if self.workers is not None and self.workers < 0:
            raise UserError(f"workers {self.workers} was given", "0 (none) or more was expected")


class Source(ABC):
    """A kind of place that pictures come from. A source is final and has no state."""

    expected: str
    """Description of the sources that it accepts."""

    @staticmethod
    @abstractmethod
    def accepts(source: str) -> bool:
        """True for a source of this kind, a broken one too; cheap."""

    @staticmethod
    @abstractmethod
    def open(source: str, request: Request) -> Pictures:
        """All its pictures, both splits."""


def fitted(pixels: Shaped[Tensor, "n C H W"], request: Request) -> Shaped[Tensor, "n c S S"]:
    """An array's pictures with the size and the channels that were asked for."""
    size = request.size or min(pixels.shape[-2:])
    return with_channels(with_size(pixels, size), request.channels or pixels.shape[1])
