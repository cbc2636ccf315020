"""Lists of encoded picture files: their size and channels, their decoding, and what becomes of bad ones."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterator, Sequence

import torch

from caselli import decoding
from caselli.data.pictures import (
    Bad,
    Pictures,
    as_integers,
    chosen_by_name,
    label_table,
)
from caselli.data.shuffle import generator
from caselli.data.source import Request
from caselli.data.store import FileStore, MemoryStore, Store
from caselli.data.workers import CHUNK, WorkerPool, ahead, default_workers
from caselli.decoding import BY_PICTURE, WHITES, BadPicture, Location, Whites
from caselli.errors import UserError
from caselli.shapes import Shaped, Tensor

MEMORY_LIMIT = 1 << 30
"""Sets whose uint8 pixels take no more than this many bytes are decoded once and kept in memory."""

BAD_SHARE = 0.05
"""More bad pictures than this share of a source are an error."""

SAMPLED = 64
"""Number of pictures, evenly spread, by which the size is chosen."""

LOOKED_AT = 4096
"""Number of pictures, at random places, among which colour is looked for; smaller sets are seen whole."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """A source's pictures before any is decoded; one entry per picture."""

    name: str
    locations: Sequence[Location]
    names: Sequence[str]
    labels: Sequence[str] | None = None
    """The name of each picture's class."""
    captions: Sequence[Sequence[str]] | None = None
    """The captions of each picture, one or more; an empty one where it has none."""
    held_out: Sequence[bool] | None = None
    """True for the pictures that the source itself keeps from training; None leaves it to their names."""
    bad: tuple[Bad, ...] = ()
    """Pictures that were found to be unusable already."""
    notes: tuple[str, ...] = ()
    """Sentences on how the source was read."""

    def subset(self, indices: Sequence[int]) -> Listing:
        """The listing of those pictures alone, in that order."""
        own = {name: getattr(self, name) for name in ("locations", "names", "labels", "captions", "held_out")}
        chosen = {name: [values[i] for i in indices] for name, values in own.items() if values is not None}
        return dataclasses.replace(self, **chosen)


def read_listing(listing: Listing, request: Request, whites: Whites | None = None) -> Pictures:
    """Decodes a listing, skips what is bad, and keeps the pixels in memory where they fit.

    Arguments:
        listing: what is decoded.
        request: size, channels and workers.
        whites: values of white in deep samples; by default those of the listing.

    Raises:
        UserError: more than `BAD_SHARE` of the pictures are bad.
    """
    workers = default_workers(len(listing.names)) if request.workers is None else request.workers
    with WorkerPool(workers) as pool:
        size, channels, own, notes = _chosen(pool, listing, request)
        whites = own if whites is None else whites
        in_memory = len(listing.names) * channels * size * size <= MEMORY_LIMIT
        count = len(listing.names)
        pixels = torch.empty(count if in_memory else 0, channels, size, size, dtype=torch.uint8)
        operation = "pixels" if in_memory else "digest"
        answers = _answers(pool, operation, listing, pixels.shape[1:], whites, request.progress)
        good, bad, digests = [], list(listing.bad), []
        for i, (answer, found) in enumerate(answers):
            if isinstance(answer, BadPicture):
                bad.append(Bad(listing.names[i], str(answer)))
                continue
            if in_memory:
                answer = decoding.digest(found.numpy())
                pixels[len(good)] = found
            good.append(i)
            digests.append(answer)
    _check(listing, bad)
    if in_memory:
        store = MemoryStore(pixels[: len(good)])
    else:
        store = FileStore(listing.subset(good).locations, size, channels, workers, whites)
    classes, labels = (), None
    if listing.labels is not None:  # classes whose pictures are all bad are classes too
        classes, labels = label_table(listing.labels)
        labels = labels[good]
    found = dataclasses.replace(listing.subset(good), bad=tuple(bad), notes=(*listing.notes, *notes))
    return _described(found, store, as_integers(digests), classes, labels)


def _described(
    listing: Listing, store: Store, digests: Tensor, classes: tuple[str, ...], labels: Tensor | None
) -> Pictures:
    names, captions = distinct(listing.names), listing.captions
    return Pictures(
        listing.name,
        store,
        names=names,
        held_out=chosen_by_name(names) if listing.held_out is None else torch.tensor(listing.held_out),
        digests=digests,
        classes=classes,
        labels=labels,
        captions=None if captions is None else tuple(several[0] for several in captions),
        all_captions=tuple(map(tuple, captions)) if any(len(c) > 1 for c in captions or ()) else None,
        bad=listing.bad,
        notes=listing.notes,
    )


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names of which each that was there before is told apart by a number.

    Example:
        >>> distinct(["a", "b", "a"])
        ('a', 'b', 'a (2)')
    """
    counts: collections.Counter[str] = collections.Counter()
    taken, found = set(names), []
    for name in names:
        counts[name] += 1
        new = name if counts[name] == 1 else f"{name} ({counts[name]})"
        while counts[name] > 1 and new in taken:
            counts[name] += 1
            new = f"{name} ({counts[name]})"
        found.append(new)
    return tuple(found)


def _answers(
    pool: WorkerPool,
    operation: str,
    listing: Listing,
    shape: tuple[int, ...],
    whites: Whites,
    progress: bool,
) -> Iterator[tuple[bytes | BadPicture, Shaped[Tensor, "C S S"]]]:
    """The answer for each picture, and its pixels."""
    several = CHUNK * max(1, pool.count)
    chunks = (listing.locations[i : i + several] for i in range(0, len(listing.locations), several))
    answered = ahead(lambda chunk: pool.ask(operation, chunk, shape, whites), chunks, 4 if pool.count else 1)
    answers = (pair for one in answered for pair in zip(*one, strict=True))
    if progress:
        from tqdm import tqdm

        answers = iter(
            tqdm(answers, f"reading {listing.name}", len(listing.names), unit="picture", leave=False)
        )
    return answers


def _chosen(pool: WorkerPool, listing: Listing, request: Request) -> tuple[int, int, Whites, tuple[str, ...]]:
    """Size and channels, asked for or chosen, white in deep samples, and sentences on what was seen."""
    count = len(listing.names)
    spread = list(range(0, count, max(1, count // SAMPLED)))
    found = list(_probed(pool, listing, spread))
    sides = collections.Counter(one["side"] for one in found)
    size = request.size or default_size(max(sides, key=lambda side: (sides[side], side), default=64))
    is_deep = any(one["white"] for one in found)
    if is_deep or (request.channels is None and all(one["grey"] for one in found)):
        # colour may be rare, or may keep step with the even spread; white is the same for all of a set
        others = torch.randperm(count, generator=generator("colour", count))[:LOOKED_AT].tolist()
        for one in _probed(pool, listing, sorted(set(others) - set(spread))):
            found.append(one)
            if not is_deep and not one["grey"]:
                break
    channels, notes = _channels([one["grey"] for one in found], count, request.channels)
    whites = [max((one["white"] for one in found if one["floating"] == kind), default=0) for kind in (0, 1)]
    if is_deep:
        notes += (
            f"samples of more than 8 bits: {max(whites)} is taken for white, by the files' own words or as "
            f"the least of {', '.join(map(str, WHITES))} that no value exceeds",
        )
    return size, channels, tuple(whites), notes


def _channels(grey: Sequence[bool], count: int, wanted: int | None) -> tuple[int, tuple[str, ...]]:
    """1 or 3 by which of the pictures that were looked at are grey, and a sentence on it."""
    if wanted is not None or not grey:
        return wanted or 3, ()
    if all(grey):
        of = f"the {count}" if len(grey) == count else f"{len(grey)} that were looked at of {count}"
        return 1, (f"grey: no colour in {of} pictures; channels 3 would make them colour",)
    return 3, ("colour, though some pictures are grey; channels 1 would make all grey",) if any(grey) else ()


def _probed(pool: WorkerPool, listing: Listing, indices: Sequence[int]) -> Iterator[dict]:
    """Results of `decoding.probe` for the pictures that can be read, in order."""
    part = dataclasses.replace(listing, locations=[listing.locations[i] for i in indices])
    answers = _answers(pool, "probe", part, (0, 0, 0), BY_PICTURE, progress=False)
    return (json.loads(answer) for answer, _ in answers if isinstance(answer, bytes))


def default_size(side: int) -> int:
    """The side of a set's pictures when none is asked for: the commonest short side, rounded down to a
    multiple of 16, at least 16 and at most 256.

    Example:
        >>> default_size(64), default_size(100), default_size(1080), default_size(12)
        (64, 96, 256, 16)
    """
    return min(256, max(16, side // 16 * 16))


def shown(name: str) -> str:
    """A file's name as text that can be written anywhere: bytes that are no UTF-8 become �.

    Example:
        >>> shown(b"a\\xff.png".decode(errors="surrogateescape"))
        'a�.png'
    """
    return name.encode(errors="surrogateescape").decode(errors="replace")


def _check(listing: Listing, bad: Sequence[Bad]) -> None:
    total = len(listing.names) + len(listing.bad)
    if len(bad) > BAD_SHARE * total or len(bad) == total:
        shown = "; ".join(f"{one.name}: {one.reason}" for one in bad[:3])
        raise UserError(
            f"{len(bad)} of the {total} pictures of {listing.name} cannot be used ({shown}"
            + ("; ..." if len(bad) > 3 else "")
            + ")",
            f"at most {BAD_SHARE:.0%} were expected",
            "mend or remove them",
        )
