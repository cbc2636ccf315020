"""The codec's files: headers, archives, check sums."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import struct
import zlib
from pathlib import PurePosixPath

from PIL import Image

from caselli.codec.lossless import MODES, SIGNATURE, check_png, damaged
from caselli.codec.profiles import pack_profiles, unpack_profiles
from caselli.decoding import own_colours
from caselli.errors import UserError, is_out_of_memory

MAGIC, VERSION = b"CSLI", 2
ENDINGS = (".csl", ".png")
"""Endings of files for one picture; a `.png` is a plain PNG, where that is the smallest."""
KINDS = ("codes", "exact", "png", "webp")
ESCAPED = {"n": "\n", "\\": "\\"}
"""Letters behind a backslash in the names of an archive's directory, whose lines end in newlines."""
HEADER = struct.Struct("<4sBB6sHHHI")
"""Magic word; version; kind (2 bits), channels − 1 (2 bits), archive (1 bit), colour profiles (1 bit); the
model's fingerprint; height; width; check sum of the content, check sum of the file: 22 bytes."""
ARCHIVE, PROFILES = 1 << 4, 1 << 5
OWN_CHECK = -1
"""Stands for the check sum of a content that has its own, as a PNG has."""
MOST_SIDE = 65_535
MOST_DIRECTORY = 1 << 26
"""Largest number of bytes of an archive's directory, inflated."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Pictures of one size in one stream."""

    kind: str
    """One of `KINDS`: codes, codes and pixels, or a whole PNG or WebP file."""
    channels: int
    height: int
    width: int
    count: int
    check: int
    """16-bit check sum of what the stream decodes to: the codes as int32, or the pixels."""
    data: bytes


@dataclasses.dataclass(frozen=True)
class Archive:
    """Content of a file."""

    fingerprint: bytes
    """Six bytes that identify the model."""
    groups: tuple[Group, ...]
    names: tuple[str, ...]
    """Names of the pictures, group by group; empty for a file of one picture."""
    profiles: tuple[bytes, ...] = ()
    """ICC profile of each picture, empty where it has none; no item where none has one."""

    @property
    def pictures(self) -> int:
        """Number of pictures."""
        return sum(group.count for group in self.groups)


def checksum(content: bytes) -> int:
    """16 bits of CRC-32.

    Example:
        >>> checksum(b"123456789")
        14630
    """
    return zlib.crc32(content) & 0xFFFF


def agree(found: int, group: Group) -> None:
    """Raises `UserError` where the decoded content has another check sum: the file was whole, so the
    probabilities must have differed."""
    if group.check not in (found, OWN_CHECK):
        raise UserError(
            f"what was decoded has check sum {found:04x}",
            f"{group.check:04x} was expected: the file is whole, so this machine's arithmetic gave other "
            "probabilities, or the file was made up",
            "decode it where it was written, and tell us of both machines",
        )


def serialise_one(fingerprint: bytes, group: Group, profile: bytes = b"") -> bytes:
    """Bytes of a file for one picture, and its ICC profile where it has one."""
    return _with_header(fingerprint, group, False, group.check, group.data, (profile,))


def serialise_archive(archive: Archive, kind: str) -> bytes:
    """Bytes of a file for many pictures: header, length of the directory, deflated directory, streams."""
    lines = [
        f"{KINDS.index(g.kind)} {g.channels} {g.height} {g.width} {g.count} {g.check} {len(g.data)}"
        for g in archive.groups
    ]
    names = [name.replace("\\", "\\\\").replace("\n", "\\n") for name in archive.names]
    text = "\n".join([str(len(lines)), *lines, *names])
    directory = zlib.compress(text.encode("utf-8", "surrogateescape"), 9)  # bytes as file systems have them
    body = struct.pack("<I", len(directory)) + directory + b"".join(g.data for g in archive.groups)
    empty = Group(kind, 1, 0, 0, 0, 0, b"")
    return _with_header(archive.fingerprint, empty, True, 0, body, archive.profiles)


def parse(data: bytes) -> Archive:
    """Content of a file, from its bytes.

    Errors: `UserError` for a file of another kind, of a later version, cut short or with any bit changed.
    """
    if data[: len(SIGNATURE)] == SIGNATURE:
        return _picture_file(data)
    if data[:4] != MAGIC:
        raise UserError(
            "a file that is none of the codec's was given", "one of `caselli compress` was expected"
        )
    if len(data) < HEADER.size:
        raise damaged("it is cut short")
    _, version, flags, fingerprint, height, width, check, crc = HEADER.unpack_from(data)
    if version > VERSION:
        raise UserError(
            f"a file of version {version} was given", f"up to {VERSION} was expected", "upgrade caselli"
        )
    body = data[HEADER.size :]
    if crc != _crc(data[: HEADER.size - 4], body) or flags >> 6 or version != 1 + (flags >> 5):
        raise damaged()
    profiles, body = unpack_profiles(body) if flags & PROFILES else ((), body)
    if flags & ARCHIVE:
        archive = _parse_archive(fingerprint, body)
    else:
        kind, channels = KINDS[flags & 3], 1 + (flags >> 2 & 3)
        archive = Archive(fingerprint, (_checked(Group(kind, channels, height, width, 1, check, body)),), ())
    if profiles and len(profiles) != archive.pictures:
        raise damaged("its colour profiles are wrong")
    return dataclasses.replace(archive, profiles=profiles)


def _picture_file(data: bytes) -> Archive:
    """A plain PNG, as it was written where that is the smallest."""
    check_png(data)
    try:
        image = Image.open(io.BytesIO(data), formats=["PNG"])
    except Exception as error:  # Pillow's decoders raise anything at all on broken files
        if is_out_of_memory(error):
            raise
        raise damaged(str(error)) from None
    mode = "RGB" if image.mode == "P" else image.mode
    channels = next((c for c, name in MODES.items() if name == mode), 3)
    group = _checked(Group("png", channels, image.height, image.width, 1, OWN_CHECK, data))
    profile = own_colours(image)
    return Archive(b"", (group,), (), (profile,) if profile else ())


def _with_header(
    fingerprint: bytes, group: Group, archive: bool, check: int, body: bytes, profiles: tuple[bytes, ...]
) -> bytes:
    """Header and body; a file without profiles is of the first version, which any release reads."""
    coloured = any(profiles)
    flags = KINDS.index(group.kind) | (group.channels - 1) << 2 | ARCHIVE * archive | PROFILES * coloured
    body = pack_profiles(profiles) + body if coloured else body
    head = HEADER.pack(MAGIC, 1 + coloured, flags, fingerprint, group.height, group.width, check, 0)[:-4]
    return head + struct.pack("<I", _crc(head, body)) + body


def _crc(head: bytes, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(head))


def _parse_archive(fingerprint: bytes, body: bytes) -> Archive:
    lines, streams = _directory(body)
    groups, at = [], 0
    try:
        count = int(lines[0])
        for line in lines[1 : 1 + count]:
            kind, channels, height, width, pictures, check, length = map(int, line.split(" "))
            group = Group(KINDS[kind], channels, height, width, pictures, check, streams[at : at + length])
            if length < 0 or kind < 0 or len(group.data) != length:
                raise ValueError
            groups.append(_checked(group))
            at += length
        names = tuple(re.sub(r"\\(.?)", lambda found: ESCAPED[found[1]], name) for name in lines[1 + count :])
    except (ValueError, IndexError, KeyError):
        raise damaged("its directory is wrong") from None
    if len(groups) != count or at != len(streams) or len(names) != sum(g.count for g in groups):
        raise damaged("its directory is wrong")
    return Archive(fingerprint, tuple(groups), tuple(map(_inside, names)))


def _directory(body: bytes) -> tuple[list[str], bytes]:
    """Lines of the directory, and the streams behind it."""
    if len(body) < 4:
        raise damaged("it is cut short")
    (length,) = struct.unpack_from("<I", body)
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(body[4 : 4 + length], MOST_DIRECTORY)
        lines = text.decode("utf-8", "surrogateescape").split("\n")
    except (zlib.error, UnicodeDecodeError):
        raise damaged("its directory is wrong") from None
    if not inflater.eof or inflater.unused_data:
        raise damaged("its directory is wrong")
    return lines, body[4 + length :]


def _checked(group: Group) -> Group:
    sides = min(group.height, group.width) >= 1 and max(group.height, group.width) <= MOST_SIDE
    most = 1 if group.kind in ("png", "webp") else 1 << 32
    if not sides or not 1 <= group.channels <= 4 or not 1 <= group.count <= most:
        raise damaged("it asks for pictures of no size")
    return group


def _inside(name: str) -> str:
    """A name that stays inside the output folder; `UserError` for any other."""
    separates = "\\" in name and os.sep == "\\"
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name or separates:
        raise UserError(f"an archive names a picture {name!r}", "a name inside the folder was expected")
    return name
