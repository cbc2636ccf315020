"""Shards as they are counted: how many pictures each has, and what is told of them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from caselli.data.arrow import arrow_paths, arrow_samples
from caselli.data.kinds import left_out
from caselli.data.listing import LOOKED_AT, read_listing
from caselli.data.pictures import Pictures
from caselli.data.remote import Copy, is_url, stamp
from caselli.data.shuffle import generator
from caselli.data.source import Request
from caselli.data.tar import listing_of, samples_of, shard_paths
from caselli.decoding import BY_PICTURE, NO_ROOM, Whites, perform
from caselli.errors import UserError
from caselli.files import write_text

SHOWN = 1024
"""Pictures of a shard that are held out, or looked at, at most."""

GREY = "grey: no colour in the pictures of any shard that were looked at; channels 3 would make them colour"


class Shards(Protocol):
    """Pictures in shards: how many, and one shard's list at a time."""

    name: str
    """Name of the set."""
    counts: tuple[int, ...]
    """Number of pictures in each shard."""
    classes: tuple[str, ...]
    """Names of the labels; empty where there are none."""
    captioned: bool
    """True where pictures have captions."""
    whites: Whites
    """Values of white in deep samples, of whole and of floating-point numbers; 0: by the picture."""
    fingerprint: str
    """16 hex digits that change when the shards do."""

    def listing(self, shard: int) -> Sequence[dict[str, Any]]:
        """Name, location, and label and caption where there are any, of each picture in a shard, in order."""


@dataclasses.dataclass(frozen=True)
class FileShards:
    """Tar files in the layout of WebDataset, or Arrow files of a saved set, one after the other.

    Their headers and texts are read once, to count the pictures, and some of these are looked at; what was
    found is kept in the user's cache and read again while the files have the same sizes and times. No list of
    all pictures is kept.

    Example:
        >>> FileShards("set", ("a.tar",), (3,)).counts
        (3,)
    """

    name: str
    paths: tuple[str, ...]
    counts: tuple[int, ...]
    classes: tuple[str, ...] = ()
    captioned: bool = False
    grey: bool = True
    """True where none of the pictures that were looked at has colour."""
    whites: Whites = BY_PICTURE
    notes: tuple[str, ...] = ()
    """Sentences on what is left out."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when names, sizes or counts of the shards do."""
        known = [
            (Path(path).name, _stamp(path) if is_url(path) else os.path.getsize(path)) for path in self.paths
        ]
        text = json.dumps([known, self.counts, self.classes])
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def listing(self, shard: int) -> Sequence[dict[str, Any]]:
        """The pictures of a shard.

        Errors: `UserError` for a shard that is gone or has changed.
        """
        found = _listed(self.paths[shard])[0]
        if len(found) != self.counts[shard]:
            raise UserError(
                f"{self.paths[shard]} holds {len(found)} pictures",
                f"{self.counts[shard]} were expected, as when training began",
            )
        return found

    def part(self, shards: Sequence[int]) -> FileShards:
        """Some of the shards."""
        chosen = {name: tuple(getattr(self, name)[i] for i in shards) for name in ("paths", "counts")}
        return dataclasses.replace(self, **chosen)


Listed = tuple[list[dict[str, Any]], list[str]]


@functools.lru_cache(maxsize=1)
def _listed(path: str) -> Listed:
    """The pictures of a shard, and the names of members that are left out."""
    if is_url(path):
        return _listed_copy(path)
    if not os.path.exists(path):
        raise UserError(f"the shard {path} is missing", "every shard was expected")
    return _good(*((arrow_samples(path), []) if path.endswith(".arrow") else samples_of(path)))


def _good(samples: list[dict[str, Any]], others: list[str]) -> Listed:
    return [sample for sample in samples if "bad" not in sample], others


def _listed_copy(url: str) -> Listed:
    """The list of a shard that is elsewhere; its copy lasts as long as one of the list's pictures."""
    copy = Copy(url)
    names = Path(copy.path).name, Path(url).name
    found, others = _good(*samples_of(copy.path))
    return [{**sample, "name": sample["name"].replace(*names, 1), "copy": copy} for sample in found], others


@functools.cache
def _kept(url: str) -> list[dict[str, Any]]:
    """The list of a shard elsewhere, some of whose pictures are read until the process ends."""
    return _listed(url)[0]


def open_shards(source: str) -> FileShards:
    """The shards of a folder, a pattern or a saved set, counted.

    Errors: `UserError` where there are none, or one of a pattern is missing.
    """
    paths = tuple(arrow_paths(source) or shard_paths(source))
    for path in paths:
        if _stamp(path) is None:
            raise UserError(f"the shard {path} is missing", "every shard was expected")
    if not paths:
        raise UserError(
            f"the source {source!r} was given to be streamed",
            "tar shards were expected, a folder of them or a pattern such as part-{000..041}.tar, "
            "or a set saved by Hugging Face datasets",
        )
    known, most = _known(paths), -(-LOOKED_AT // len(paths))
    facts = [known.get(_stamp(path)) or _counted(path, most) for path in paths]
    _remember(paths, facts)
    labels = sorted({label for fact in facts for label in fact["labels"]}, key=_by_number)
    return FileShards(
        Path(paths[0]).parent.resolve().name,
        paths,
        tuple(fact["pictures"] for fact in facts),
        tuple(labels),
        captioned=any(fact["captions"] for fact in facts),
        grey=all(fact["grey"] for fact in facts),
        whites=tuple(max(fact["whites"][kind] for fact in facts) for kind in (0, 1)),
        notes=left_out(
            name for fact in facts for name, count in fact["others"].values() for _ in range(count)
        ),
    )


def shard_pictures(shards: FileShards, shard: int, request: Request) -> Pictures:
    """The first pictures of one shard as a set, at most `SHOWN`, with the classes of all shards; in colour,
    unless asked otherwise, where any shard has colour."""
    path = shards.paths[shard]
    found = (_kept(path) if is_url(path) else shards.listing(shard))[:SHOWN]
    notes = shards.notes + ((GREY,) if shards.grey and request.channels is None else ())
    request = dataclasses.replace(request, channels=request.channels or (1 if shards.grey else 3))
    pictures = read_listing(listing_of(shards.name, found), request, shards.whites)
    pictures = dataclasses.replace(pictures, notes=(*pictures.notes, *notes))
    if not shards.classes:
        return pictures
    labels = pictures.labels_in(shards.classes, torch.arange(len(pictures)))
    return dataclasses.replace(pictures, classes=shards.classes, labels=labels)


def _counted(path: str, most: int) -> dict[str, Any]:
    """The facts of a shard, some by up to `most` of its pictures."""
    found, others = _listed(path)
    kinds: dict[str, tuple[str, int]] = {}
    for name in others:
        ending = os.path.splitext(name)[1].lower()
        first, count = kinds.get(ending, (name, 0))
        kinds[ending] = first, count + 1
    return {
        "pictures": len(found),
        "labels": sorted({sample["label"] for sample in found if "label" in sample}),
        "captions": any("caption" in sample for sample in found),
        "others": kinds,
        **_looked_at(found, most),
    }


def _looked_at(samples: Sequence[dict[str, Any]], most: int) -> dict[str, Any]:
    """Colour and white of a shard, by up to `most` of them at random places."""
    grey, whites = True, [0, 0]
    for number in torch.randperm(len(samples), generator=generator("colour", len(samples)))[:most].tolist():
        answer = perform("probe", samples[number]["location"], NO_ROOM, BY_PICTURE)
        if isinstance(answer, bytes):
            seen = json.loads(answer)
            grey = grey and seen["grey"]
            whites[seen["floating"]] = max(whites[seen["floating"]], seen["white"])
            if not (grey or seen["white"]):
                break
    return {"grey": grey, "whites": whites}


def _by_number(label: str) -> tuple[bool, int, str]:
    return (False, int(label), label) if label.isdecimal() else (True, 0, label)


def _stamp(path: str) -> str | None:
    """Name, size and time of a shard; None where there is none."""
    if is_url(path):
        return stamp(path)
    if not os.path.exists(path):
        return None
    facts = os.stat(path)
    return f"{os.path.abspath(path)}|{facts.st_size}|{facts.st_mtime_ns}"


def _cache(paths: Sequence[str]) -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    names = "\n".join(("2", *map(os.path.abspath, paths)))  # the second kind of facts
    key = hashlib.blake2b(names.encode(errors="surrogateescape"), digest_size=8).hexdigest()
    return Path(folder) / "caselli" / f"shards-{key}.json"


def _known(paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    try:
        return json.loads(_cache(paths).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _remember(paths: Sequence[str], facts: Sequence[dict[str, Any]]) -> None:
    try:
        write_text(_cache(paths), json.dumps(dict(zip(map(_stamp, paths), facts, strict=True))))
    except (OSError, UserError):  # a cache that cannot be written is none
        return
