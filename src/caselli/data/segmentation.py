"""Pictures with a class for every pixel."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from caselli.data.augment import Augment
from caselli.data.folder import plain_listing
from caselli.data.listing import read_listing
from caselli.data.masks import class_names, read_masks
from caselli.data.pictures import Pictures
from caselli.data.pixels import to_float, with_channels
from caselli.data.scenes import class_names as scene_names
from caselli.data.scenes import draw_scenes
from caselli.data.shuffle import Shares
from caselli.data.source import Request
from caselli.errors import UserError
from caselli.shapes import Float, Int, Shaped, Tensor

VOID = 255
"""The mask value of pixels that belong to no class: neither trained on nor counted."""
TRAIN, HELD_OUT, SIZE = 8000, 500, 64
"""Numbers of pictures for training and held out in the drawn set, and their side in pixels."""
EXPECTED = "'glyphs' (drawn digits) or a folder with pictures/ and masks/ of equal stems"


@dataclasses.dataclass(frozen=True)
class SegmentationBatch:
    """Pictures of one step with their masks."""

    pictures: Float[Tensor, "B C H W"]
    """In [-1, 1]."""
    masks: Int[Tensor, "B H W"]
    """int64; each pixel's class, `VOID` for none."""
    indices: Int[Tensor, "B"]
    """Numbers of the pictures in the set."""


@dataclasses.dataclass(frozen=True, eq=False)
class Segmented:
    """A set of pictures with masks.

    Example:
        >>> pixels = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
        >>> labelled = Segmented(Pictures.of("two", pixels), pixels[:, 0], ("paper", "ink"))
        >>> labelled.batch(torch.tensor([1])).masks.shape
        torch.Size([1, 4, 4])
    """

    pictures: Pictures
    masks: Shaped[Tensor, "n S S"]
    """uint8."""
    classes: tuple[str, ...]
    """The names of the classes, in order."""

    def __len__(self) -> int:
        return len(self.pictures)

    def split(self, name: str) -> Segmented:
        """The part for training (`train`), the part kept from it (`held_out`), or `all`."""
        if name == "all":
            return self
        part = self.pictures.split(name)  # says what is wrong with the name
        return Segmented(part, self.masks[self.pictures.held_out == (name == "held_out")], self.classes)

    def batch(self, indices: Int[Tensor, "n"]) -> SegmentationBatch:
        """The pictures of the given indices in [-1, 1], with their masks."""
        return self.assemble(indices, self.read(indices), None, None)

    def order(self, batch: int, seed: int, rank: int, ranks: int) -> Shares:
        """The order in which batches of the set are read."""
        return Shares(len(self), batch, seed, rank, ranks)

    def read(self, indices: Int[Tensor, "n"]) -> Shaped[Tensor, "n C S S"]:
        """The pictures of the given indices, uint8."""
        return self.pictures.read(indices)

    def stream(self, requests: Iterable[Int[Tensor, "n"]]) -> Iterator[Shaped[Tensor, "n C S S"]]:
        """`read` of each request in turn, decoded ahead of need; close the generator to end its workers."""
        return self.pictures.stream(requests)

    def assemble(
        self,
        indices: Int[Tensor, "n"],
        read: Shaped[Tensor, "n C S S"],
        moves: Int[Tensor, "n 3"] | None,
        lots: Float[Tensor, "n"] | None,
    ) -> SegmentationBatch:
        """The batch of pictures whose pixels have been read; their masks move with them."""
        masks = Augment.apply(self.masks[indices][:, None], moves)[:, 0]
        return SegmentationBatch(to_float(Augment.apply(read, moves)), masks.long(), indices)

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when any picture, mask or class name does."""
        masks = hashlib.blake2b(self.masks.contiguous().numpy().tobytes(), digest_size=8).hexdigest()
        parts = "\0".join((self.pictures.fingerprint, masks, *self.classes))
        return hashlib.blake2b(parts.encode(), digest_size=8).hexdigest()


def open_segmented(
    source: str | Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    workers: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Segmented:
    """A set of pictures with masks, both parts of it.

    Arguments:
        source: `glyphs`, up to four digits a picture on uneven paper (8,000 for training and 500 held out, of
            64 pixels); or a folder with `pictures/` and `masks/`, whose files have equal stems. A mask is a
            grey or palette picture that holds each pixel's class, 255 for none (0 and 255 alone: two
            classes); `classes.txt` may name the classes, one a line.
        size, channels, workers, seed, progress: as in `caselli.data.open`.

    Raises:
        UserError: there is no such source, or a picture has no mask of its own.

    Example:
        >>> labelled = open_segmented("nowhere")
        Traceback (most recent call last):
        ...
        caselli.errors.UserError: the source 'nowhere' was given; 'glyphs' (drawn digits) or a folder with \
pictures/ and masks/ of equal stems was expected
    """
    request = Request(size, channels, workers, seed, progress)
    if str(source) == "glyphs":
        return _drawn(request)
    root = Path(os.path.expanduser(source))
    if not ((root / "pictures").is_dir() and (root / "masks").is_dir()):
        raise UserError(f"the source {str(source)!r} was given", f"{EXPECTED} was expected")
    # folders of pictures are no classes here: the masks say what is what
    pictures = read_listing(plain_listing(str(root / "pictures")), request)
    masks = read_masks(root / "masks", pictures.names, pictures.size)
    pictures = dataclasses.replace(pictures, name=root.resolve().name)
    return Segmented(pictures, masks, class_names(root, masks, VOID))


def _drawn(request: Request) -> Segmented:
    counts = {"train": TRAIN, "held_out": HELD_OUT}
    drawn = [draw_scenes(count, request.size or SIZE, request.seed, split) for split, count in counts.items()]
    pictures = Pictures.of(
        "glyphs",
        with_channels(torch.cat([scenes.pictures for scenes in drawn]), request.channels or 1),
        [f"{split}/{i:06}" for split, count in counts.items() for i in range(count)],
        torch.arange(TRAIN + HELD_OUT) >= TRAIN,
    )
    return Segmented(pictures, torch.cat([scenes.masks() for scenes in drawn]), scene_names())
