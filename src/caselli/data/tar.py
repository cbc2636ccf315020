"""Tar shards in the layout of WebDataset."""

from __future__ import annotations

import glob
import json
import os
import re
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from caselli.data.decoding import EXTENSIONS, Location
from caselli.data.listing import Listing, read_listing, shown
from caselli.data.pictures import Bad, Pictures
from caselli.data.source import Request, Source
from caselli.errors import UserError

MOST_TEXT = 1 << 20
"""A label or caption longer than this many bytes is not read."""

_READERS = {
    ".cls": lambda text: {"label": text.strip()},
    ".txt": lambda text: {"caption": text.strip()},
    ".json": lambda text: _from_json(text),
}
"""Endings of files that are read beside a picture: a label, a caption, or both. Nothing else is opened."""


class Tar(Source):
    """A `.tar` file, a folder of them, or a pattern of them, in the layout of WebDataset.

    A pattern is `shards/*.tar`, or `shards/part-{000..041}.tar`, of which every one must be there.

    Members of one key belong together: `key.png` (or another kind of picture), `key.cls` (label), `key.txt`
    (caption), `key.json` (an object with `label` and `caption`). Nothing is unpacked: the pictures are read
    from where they lie, in any order, which is why the files must not be compressed.
    """

    expected = "a .tar shard, a folder or a pattern of them"

    @staticmethod
    def accepts(source: str) -> bool:
        return bool(_shards(source))

    @staticmethod
    def open(source: str, request: Request) -> Pictures:
        shards = _shards(source)
        samples = [sample for shard in shards for sample in _samples(shard)]
        if not samples:
            raise UserError(
                f"{source} holds no pictures ({len(shards)} shards)",
                "members such as key.png or key.jpg were expected",
            )
        name = Path(source).stem if os.path.exists(source) else Path(shards[0]).parent.resolve().name
        return read_listing(_listing(name, samples), request)


def _shards(source: str) -> list[str]:
    if os.path.isdir(source):
        inside = sorted(os.listdir(source))
        others = [n for n in inside if os.path.splitext(n)[1].lower() in EXTENSIONS]
        folders = [n for n in inside if os.path.isdir(os.path.join(source, n)) and not n.startswith(".")]
        return [] if others or folders else _tars(os.path.join(source, name) for name in inside)
    if os.path.exists(source):
        return _tars([source])
    named = _counted(source)
    return _tars(named if len(named) > 1 else sorted(glob.glob(source)))


def _counted(pattern: str) -> list[str]:
    """A pattern with every number of its `{first..last}`.

    Example:
        >>> _counted("part-{08..10}.tar")
        ['part-08.tar', 'part-09.tar', 'part-10.tar']
    """
    found = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if not found:
        return [pattern]
    first, last = found.groups()
    before, after = pattern[: found.start()], pattern[found.end() :]
    numbers = range(int(first), int(last) + 1)
    return [path for i in numbers for path in _counted(f"{before}{i:0{len(first)}}{after}")]


def _tars(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if path.lower().endswith((".tar", ".tar.gz", ".tgz"))]


def _samples(shard: str) -> list[dict]:
    """Name, location, and either what is known of the picture or why it is bad."""
    samples: dict[str, dict] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                key, suffix = _key(member.name)
                if not member.isreg() or member.issparse() or not key:
                    continue
                if suffix in EXTENSIONS:
                    place = Location(shard, member.offset_data, member.size)
                    name = shown(f"{Path(shard).name}/{member.name}")
                    samples.setdefault(key, {}).update(name=name, location=place)
                elif suffix in _READERS:
                    samples.setdefault(key, {}).update(_read(archive, member, suffix))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(
            f"{shard} cannot be read ({error})", "a whole, uncompressed tar file was expected"
        ) from error
    return [sample for sample in samples.values() if "location" in sample]


def _key(member: str) -> tuple[str, str]:
    """WebDataset's rule: the key ends at the first dot of the file's name.

    Example:
        >>> _key("a/b.seg.PNG"), _key("a/.hidden")
        (('a/b', '.seg.png'), ('', ''))
    """
    folder, _, file = member.removeprefix("./").rpartition("/")
    stem, dot, suffix = file.partition(".")
    return (f"{folder}/{stem}".lstrip("/"), dot + suffix.lower()) if stem else ("", "")


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, suffix: str) -> dict:
    if member.size > MOST_TEXT:
        return {"bad": f"its {suffix} is longer than {MOST_TEXT} bytes"}
    try:
        return _READERS[suffix](archive.extractfile(member).read().decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return {"bad": f"its {suffix} cannot be read"}


def _from_json(text: str) -> dict:
    known = json.loads(text)
    if not isinstance(known, dict):
        raise ValueError("no object")
    return {name: str(known[name]) for name in ("label", "caption") if known.get(name) is not None}


def _listing(name: str, samples: Sequence[dict]) -> Listing:
    labelled, captioned = (any(what in sample for sample in samples) for what in ("label", "caption"))
    good, bad = [], []
    for sample in samples:
        reason = sample.get("bad") or ("has no label" if labelled and "label" not in sample else None)
        if reason:
            bad.append(Bad(sample["name"], reason))
        else:
            good.append(sample)
    return Listing(
        name,
        [sample["location"] for sample in good],
        [sample["name"] for sample in good],
        [sample["label"] for sample in good] if labelled else None,
        [(sample.get("caption", ""),) for sample in good] if captioned else None,
        bad=tuple(bad),
    )
