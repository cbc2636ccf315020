"""Tar shards in the layout of WebDataset."""

from __future__ import annotations

import collections
import dataclasses
import glob
import json
import os
import re
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from caselli.data.caption_files import MOST_TEXT
from caselli.data.kinds import left_out
from caselli.data.listing import Listing, read_listing, shown
from caselli.data.pictures import Bad, Pictures
from caselli.data.remote import is_url, named
from caselli.data.source import Request, Source
from caselli.data.tree import is_no_data, is_system
from caselli.decoding import EXTENSIONS, Location
from caselli.errors import UserError

_READERS = {
    ".cls": lambda text: {"label": text.strip()},
    ".txt": lambda text: {"caption": text.strip()},
    ".json": lambda text: _from_json(text),
}
"""Endings of files that are read beside a picture: a label, a caption, or both. Nothing else is opened."""


class Tar(Source):
    """A `.tar` file, a folder of them, or a pattern of them, in the layout of WebDataset.

    A pattern is `shards/*.tar`, or `shards/part-{000..041}.tar`, of which every one must be there.

    Members of one key belong together: the name up to its first dot, of a picture up to its last if only
    numbers follow or the key has no other picture. A key that comes again is another sample. They are
    `key.png` (or another kind of picture), `key.cls` (label), `key.txt`
    (caption), `key.json` (an object with `label` and `caption`). Nothing is unpacked: the pictures are read
    from where they lie, in any order, which is why the files must not be compressed.
    """

    expected = "a .tar shard, a folder or a pattern of them"

    @staticmethod
    def accepts(source: str) -> bool:
        return is_url(source) or bool(shard_paths(source))

    @staticmethod
    def open(source: str, request: Request) -> Pictures:
        if is_url(source):
            raise UserError(
                f"the source {source} is a URL", "it has to be streamed", "give --data.stream true"
            )
        shards = shard_paths(source)
        read = [samples_of(shard) for shard in shards]
        samples = [sample for of_shard, _ in read for sample in of_shard]
        if not samples:
            raise UserError(
                f"{source} holds no pictures ({len(shards)} shards)",
                "members such as key.png or key.jpg were expected",
            )
        name = Path(source).stem if os.path.exists(source) else Path(shards[0]).parent.resolve().name
        kinds = left_out(name for _, others in read for name in others)
        return read_listing(dataclasses.replace(listing_of(name, samples), notes=kinds), request)


def shard_paths(source: str) -> list[str]:
    """Paths or URLs of the shards that a file, a folder or a pattern stands for; none where it is something
    else."""
    if is_url(source):
        several = _counted(source)
        return _tars(several if len(several) > 1 else named(source))
    if os.path.isdir(source):
        inside = sorted(os.listdir(source))
        others = [n for n in inside if os.path.splitext(n)[1].lower() in EXTENSIONS]
        folders = [n for n in inside if os.path.isdir(os.path.join(source, n)) and not is_no_data(source, n)]
        return [] if others or folders else _tars(os.path.join(source, name) for name in inside)
    if os.path.exists(source):
        return _tars([source])
    several = _counted(source)
    return _tars(several if len(several) > 1 else sorted(glob.glob(source)))


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


@dataclasses.dataclass
class _Member:
    """A member that is a picture, or tells of one."""

    name: str
    location: Location
    told: dict | None
    """Text of a label or caption; None for a picture."""


def _members(shard: str) -> tuple[list[_Member], list[str]]:
    """The pictures of a shard and what is told of them, in order; and the names of all other members.

    A hard link is the member that it names, which stands before it.
    """
    found, others, places = [], [], {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                folders, _, file = member.name.removeprefix("./").rpartition("/")
                hidden = file.startswith(".") or any(map(is_system, re.findall(r"[^/.][^/]*", folders)))
                ending = os.path.splitext(file)[1].lower()
                if hidden or member.isdir():
                    continue
                if member.islnk() and member.linkname in places:
                    place = places[member.linkname]
                elif member.isreg() and not member.issparse():
                    place = Location(shard, member.offset_data, member.size)
                else:
                    others.append(f"{member.name} (no plain member)")
                    continue
                places[member.name] = place
                if ending in EXTENSIONS:
                    found.append(_Member(member.name, place, None))
                elif ending in _READERS:
                    found.append(_Member(member.name, place, _read(archive, member, ending)))
                else:
                    others.append(member.name)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(
            f"{shard} cannot be read ({error})", "a whole, uncompressed tar file was expected"
        ) from error
    return found, others


def samples_of(shard: str) -> tuple[list[dict], list[str]]:
    """Name, location, label and caption of each picture of a shard, in order, `bad` where it is no use; and
    the names of members that are left out."""
    members, others = _members(shard)
    plain = {key for key, suffix in (_key(m.name) for m in members) if suffix in EXTENSIONS}
    dotted = {m.name: _dotted_key(m.name, plain) for m in members if m.told is None}
    others += [name for name, key in dotted.items() if key is None]
    groups: list[dict[str, _Member]] = []
    current: dict[str, dict[str, _Member]] = {}
    owners = collections.defaultdict(set)
    for name, key in dotted.items():
        owners[_key(name)[0]] |= {key} - {None}
    for member in members:
        whole, ending = os.path.splitext(member.name.removeprefix("./").lstrip("/"))
        key = _key(member.name)[0]
        if member.told is None:
            key = dotted[member.name]
        elif whole in owners[key]:  # IMG_2020.01.03.txt tells of a picture of that name
            key = whole
        else:  # 1.label.cls tells of 1.image.png, where that is the only picture of 1
            key = next(iter(owners[key])) if len(owners[key] - {key}) == len(owners[key]) == 1 else None
        if key is None:
            others += [member.name] * (member.told is not None)
            continue
        if key not in current or ending in current[key]:  # a key that comes again is another sample
            groups.append({})
            current[key] = groups[-1]
        current[key][ending] = member
    return [sample for group in groups for sample in _of_group(shard, group)], others


def _of_group(shard: str, group: dict[str, _Member]) -> list[dict]:
    """The pictures of one key, all with what is told of it."""
    told: dict = {}
    for member in group.values():
        told |= member.told or {}
    names = {m.location: shown(f"{Path(shard).name}/{m.name}") for m in group.values() if m.told is None}
    return [{**told, "name": name, "location": place} for place, name in names.items()]


def _key(member: str) -> tuple[str, str]:
    """WebDataset's rule: the key ends at the first dot of the file's name.

    Example:
        >>> _key("a/b.seg.PNG"), _key("a/.hidden")
        (('a/b', '.seg.png'), ('', ''))
    """
    folder, _, file = member.removeprefix("./").rpartition("/")
    stem, dot, suffix = file.partition(".")
    return (f"{folder}/{stem}".lstrip("/"), dot + suffix.lower()) if stem else ("", "")


def _dotted_key(member: str, plain: set[str]) -> str | None:
    """The key of a picture, dots in its name included; None for one that belongs to another picture.

    Example:
        >>> [_dotted_key(name, {"a"}) for name in ("a.2020.01.png", "a.mask.png", "b.x.png")]
        ['a.2020.01', None, 'b.x']
    """
    key, suffix = _key(member)
    if suffix in EXTENSIONS:
        return key
    is_number = not any(letter.isalpha() for letter in os.path.splitext(suffix)[0])
    return os.path.splitext(member.removeprefix("./"))[0] if is_number or key not in plain else None


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
    told = {name: known[name] for name in ("label", "caption") if known.get(name) is not None}
    if isinstance(told.get("caption"), list) and told["caption"]:
        told["captions"] = tuple(map(str, told["caption"]))
        told["caption"] = told["captions"][0]
    return told | {name: str(told[name]) for name in ("label", "caption") if name in told}


def listing_of(name: str, samples: Sequence[dict]) -> Listing:
    """The list of some pictures of shards."""
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
        [sample.get("captions", (sample.get("caption", ""),)) for sample in good] if captioned else None,
        [sample["held_out"] for sample in good] if any("held_out" in sample for sample in samples) else None,
        bad=tuple(bad),
    )
