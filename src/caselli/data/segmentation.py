"""Pictures with a class for every pixel."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from caselli.data.batches import Augment
from caselli.data.folder import Folder
from caselli.data.masks import class_names, read_masks
from caselli.data.order import Shares, generator
from caselli.data.pictures import Pictures
from caselli.data.pixels import to_float, with_channels
from caselli.data.scenes import class_names as scene_names
from caselli.data.scenes import draw_scenes
from caselli.data.source import Request
from caselli.errors import UserError
from caselli.shapes import Float, Int, Shaped, Tensor

VOID = 255
"""The mask value of pixels that belong to no class: neither trained on nor counted."""
TRAIN, HELD_OUT, SIZE = 8000, 500, 64
"""Of the drawn set: pictures for training, pictures held out, and their side."""
EXPECTED = "'glyphs' (drawn digits) or a folder with pictures/ and masks/ of equal stems"


@dataclasses.dataclass(frozen=True)
class SegmentationBatch:
    """Pictures of one step with their masks."""

    pictures: Float[Tensor, "B C H W"]
    """In [-1, 1]."""
    masks: Int[Tensor, "B H W"]
    """int64; each pixel's class, `VOID` for none."""
    indices: Int[Tensor, "B"]
    """Which pictures of the set these are."""


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
        """Those pictures in [-1, 1], with their masks."""
        return SegmentationBatch(to_float(self.pictures.read(indices)), self.masks[indices].long(), indices)

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when any picture, mask or class name does."""
        masks = hashlib.blake2b(self.masks.contiguous().numpy().tobytes(), digest_size=8).hexdigest()
        parts = "\0".join((self.pictures.fingerprint, masks, *self.classes))
        return hashlib.blake2b(parts.encode(), digest_size=8).hexdigest()


class SegmentationBatches:
    """Batches of pictures with masks, each a function of seed and step alone; both are varied alike.

    Arguments:
        labelled: the set.
        batch: pictures of a step, all ranks together.
        seed: of the order and of the augmentation.
        augment: random changes of the pictures; masks move with them.
        rank, ranks: this process, and how many share a batch.

    Example:
        >>> pixels = torch.zeros(4, 1, 4, 4, dtype=torch.uint8)
        >>> labelled = Segmented(Pictures.of("greys", pixels), pixels[:, 0], ("paper", "ink"))
        >>> next(SegmentationBatches(labelled, 2).stream(5)).masks.shape
        torch.Size([2, 4, 4])
    """

    def __init__(
        self,
        labelled: Segmented,
        batch: int,
        *,
        seed: int = 0,
        augment: Augment = Augment(),  # noqa: B008  (frozen)
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.shares = Shares(len(labelled), batch, seed, rank, ranks)
        self.labelled, self.augment = labelled, augment

    def stream(self, start: int = 0) -> Iterator[SegmentationBatch]:
        """The batches from step `start` on, without end, decoded ahead of need."""
        requests = map(self.shares.at, itertools.count(start))
        with contextlib.closing(self.labelled.pictures.stream(requests)) as pixels:
            for step, read in zip(itertools.count(start), pixels, strict=False):
                yield self._finished(step, read)

    def _finished(self, step: int, pixels: Tensor) -> SegmentationBatch:
        indices = self.shares.at(step)
        masks = self.labelled.masks[indices]
        if self.augment != Augment():
            drawn = self.augment.draw(self.shares.batch, generator("augment", self.shares.seed, step))
            moves = self.shares.own(drawn)
            pixels, masks = Augment.apply(pixels, moves), Augment.apply(masks[:, None], moves)[:, 0]
        return SegmentationBatch(to_float(pixels), masks.long(), indices)


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
    pictures = Folder.open(str(root / "pictures"), request)
    masks = read_masks(root / "masks", pictures.names, pictures.size)
    # folders of pictures are no classes here: the masks say what is what
    pictures = dataclasses.replace(pictures, name=root.resolve().name, classes=(), labels=None)
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
