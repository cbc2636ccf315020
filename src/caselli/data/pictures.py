"""A set of pictures, the form in which every source is opened."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

import torch

from caselli import decoding
from caselli.data.augment import Augment
from caselli.data.pixels import to_float
from caselli.data.shuffle import Shares, drawn_captions, picked
from caselli.data.store import MemoryStore, Store
from caselli.errors import UnknownName, UserError
from caselli.shapes import Bool, Float, Int, Shaped, Tensor

SPLITS = ("train", "held_out", "all")
HELD_OUT_SHARE = 0.1
MOST_HELD_OUT = 5000


@dataclasses.dataclass(frozen=True)
class Bad:
    """A picture that was skipped, and why."""

    name: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Batch:
    """Pictures of one step, with their labels and captions."""

    pictures: Float[Tensor, "B C H W"]
    """In [-1, 1]."""
    labels: Int[Tensor, "B"] | None
    captions: tuple[str, ...] | None
    indices: Int[Tensor, "B"]
    """Numbers of the pictures in the set."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures:
    """A set of square pictures with their names, labels and captions.

    Example:
        >>> from caselli import data
        >>> pictures = data.Pictures.of("two greys", torch.tensor([[[[0]]], [[[255]]]], dtype=torch.uint8))
        >>> len(pictures), pictures.size, pictures.channels, pictures.names[1]
        (2, 1, 1, '000001')
        >>> pictures.read(torch.tensor([1])).flatten()
        tensor([255], dtype=torch.uint8)
    """

    name: str
    """Name of the set."""
    store: Store
    """Holds the pixels, in memory or in files."""
    names: tuple[str, ...]
    """One per picture, all different: a relative file name, or a split and a number."""
    held_out: Bool[Tensor, "n"]
    """True for the pictures that are kept from training."""
    digests: Int[Tensor, "n"]
    """64 bits that stand for each picture's pixels."""
    classes: tuple[str, ...] = ()
    """The names of the classes; empty when the pictures are not labelled."""
    labels: Int[Tensor, "n"] | None = None
    """int64, indices of `classes`."""
    captions: tuple[str, ...] | None = None
    """One per picture, the first of several; empty where one has none."""
    all_captions: tuple[tuple[str, ...], ...] | None = None
    """Every caption of each picture, where some have several; None otherwise."""
    bad: tuple[Bad, ...] = ()
    """The pictures of the source that could not be read and were skipped."""
    notes: tuple[str, ...] = ()
    """Sentences on how the source was read, where it could be taken in more than one way or not all of it."""

    @classmethod
    def of(
        cls,
        name: str,
        pixels: Shaped[Tensor, "n C H W"],
        names: Sequence[str] | None = None,
        held_out: Bool[Tensor, "n"] | None = None,
        **known: object,
    ) -> Pictures:
        """A set in memory, from its pixels (uint8, square); `known` gives classes, labels, captions."""
        if names is None:
            names = [f"{i:06}" for i in range(len(pixels))]
        held_out = chosen_by_name(names) if held_out is None else held_out
        digests = [decoding.digest(picture.tobytes()) for picture in pixels.contiguous().numpy()]
        return cls(name, MemoryStore(pixels), tuple(names), held_out, as_integers(digests), **known)

    @property
    def size(self) -> int:
        """The side of each picture, in pixels."""
        return self.store.size

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (colour)."""
        return self.store.channels

    def __len__(self) -> int:
        return len(self.store)

    def order(self, batch: int, seed: int, rank: int, ranks: int) -> Shares:
        """The order in which batches of the set are read."""
        return Shares(len(self), batch, seed, rank, ranks)

    def read(self, indices: Int[Tensor, "n"]) -> Shaped[Tensor, "n C H W"]:
        """The pictures of the given indices, uint8."""
        return self.store.read(indices)

    def stream(self, requests: Iterable[Int[Tensor, "n"]]) -> Iterator[Shaped[Tensor, "n C H W"]]:
        """`read` of each request in turn, decoded ahead of need by workers where the set is not in memory.

        Close the generator (or drop it) to end its workers.
        """
        return self.store.stream(requests)

    def batch(self, indices: Int[Tensor, "n"]) -> Batch:
        """The pictures of the given indices in [-1, 1], with their labels and captions."""
        return self.assemble(indices, self.read(indices), None, None)

    def assemble(
        self,
        indices: Int[Tensor, "n"],
        read: Shaped[Tensor, "n C H W"],
        moves: Int[Tensor, "n 3"] | None,
        lots: Float[Tensor, "n"] | None,
    ) -> Batch:
        """The batch of pictures whose pixels have been read; `Augment.draw` gives the moves, and lots in
        [0, 1) choose among several captions."""
        captions = drawn_captions(self.captions, self.all_captions, indices, lots)
        known = picked(self.labels, indices), captions
        return Batch(to_float(Augment.apply(read, moves)), *known, indices)

    def subset(self, indices: Int[Tensor, "n"]) -> Pictures:
        """A set of those pictures alone, in that order."""
        return dataclasses.replace(
            self,
            store=self.store.subset(indices),
            names=picked(self.names, indices),
            held_out=self.held_out[indices],
            digests=self.digests[indices],
            labels=picked(self.labels, indices),
            captions=picked(self.captions, indices),
            all_captions=picked(self.all_captions, indices),
        )

    def labels_in(self, classes: Sequence[str], indices: Int[Tensor, "n"]) -> Int[Tensor, "n"] | None:
        """Labels of those pictures as indices of other classes, by name; -1 where there is no such class.

        None where no class of the set is among them."""
        if self.labels is None or set(classes).isdisjoint(self.classes):
            return None
        number = {name: i for i, name in enumerate(classes)}
        return torch.tensor([number.get(name, -1) for name in self.classes])[self.labels[indices]]

    def said_for(self, classes: Sequence[str]) -> tuple[str, ...]:
        """Sentences on how the set was read, and on labels that it lacks or that are none of a model's."""
        if classes and self.labels is None:
            words = f"{self.name} has no labels: figures are those without one, though the run has"
            return (*self.notes, f"{words} {len(classes)} classes")
        other = [name for name in self.classes if name not in classes] if classes else []
        if not other:
            return self.notes
        gone = torch.isin(self.labels, torch.tensor([self.classes.index(name) for name in other]))
        words = ", ".join(other[:3]) + ", ..." * (len(other) > 3)
        note = f"labels of {int(gone.sum())} of {len(self)} pictures are no classes of the run ({words})"
        return (*self.notes, f"{note} and are left out")

    def split(self, name: str) -> Pictures:
        """The part for training (`train`), the part kept from it (`held_out`), or `all`.

        Raises:
            UnknownName: there is no such split.
            UserError: the part is empty, for want of pictures.
        """
        if check_split(name) == "all":
            return self
        indices = torch.nonzero(self.held_out == (name == "held_out")).flatten()
        if len(indices) == 0:
            raise UserError(
                f"no picture of {self.name} is left for the split {name!r}",
                "at least two were expected",
                "the split 'all' takes every one",
            )
        return self.subset(indices)

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when any picture, label or caption does, or the order or the size."""
        known = [self.size, self.channels, len(self), self.classes, self.captions]
        known += [] if self.all_captions is None else [self.all_captions]
        labels = b"" if self.labels is None else self.labels.numpy().tobytes()
        parts = (json.dumps(known).encode(), labels, self.digests.numpy().tobytes())
        return hashlib.blake2b(b"\0".join(parts), digest_size=8).hexdigest()


def check_split(name: str) -> str:
    """The name, or `UnknownName`."""
    if name not in SPLITS:
        raise UnknownName("split", name, SPLITS)
    return name


def as_integers(digests: Sequence[bytes]) -> Int[Tensor, "n"]:
    """Digests of eight bytes as one int64 each."""
    return torch.tensor([int.from_bytes(d, "little", signed=True) for d in digests], dtype=torch.int64)


def chosen_by_name(names: Sequence[str]) -> Bool[Tensor, "n"]:
    """True for the held-out pictures: about a tenth, at most `MOST_HELD_OUT`, by a hash of each name.

    A picture's lot does not depend on the others, so that adding pictures does not move those that are there
    (unless the limit is reached, or it would leave a part empty: of two or more pictures at least one is held
    out and one is not).

    Example:
        >>> chosen_by_name([f"{i}.png" for i in range(1000)]).sum()
        tensor(95)
    """
    lots = torch.tensor(
        [int.from_bytes(decoding.digest(n.encode(errors="replace"))[:6], "big") for n in names]
    )
    if len(names) < 2:
        return torch.zeros(len(names), dtype=torch.bool)
    order = lots.argsort(stable=True)
    below = int((lots < HELD_OUT_SHARE * 2**48).sum())
    count = max(1, min(below, MOST_HELD_OUT, len(names) - 1))
    held_out = torch.zeros(len(names), dtype=torch.bool)
    held_out[order[:count]] = True
    return held_out


def label_table(values: Sequence[int | str]) -> tuple[tuple[str, ...], Int[Tensor, "n"]]:
    """Classes and labels from one value a picture: the different values in order, whole numbers by size.

    Example:
        >>> label_table(["10", "9", "10"])
        (('9', '10'), tensor([1, 0, 1]))
    """
    words = [str(value).strip() for value in values]
    distinct = set(words)
    numeric = all(word.removeprefix("-").isdecimal() for word in distinct)
    classes = tuple(sorted(distinct, key=lambda word: (int(word), word) if numeric else word))
    index = {word: i for i, word in enumerate(classes)}
    return classes, torch.tensor([index[word] for word in words], dtype=torch.int64)
