"""Colour profiles in the codec's files."""

from __future__ import annotations

import struct
import zlib

from caselli.codec.lossless import damaged

MOST_BYTES = 1 << 20
"""Largest number of bytes of one profile: the most that Pillow takes out of a PNG."""
MOST_INFLATED = 1 << 26
"""Largest number of bytes of all profiles of a file, inflated."""


def pack_profiles(profiles: tuple[bytes, ...]) -> bytes:
    """Bytes of a profile for each picture, equal ones once: length, and deflated: how many there are, their
    lengths, the profiles, and the number of each picture's (0 for none).

    Example:
        >>> unpack_profiles(pack_profiles((b"", b"wide", b"wide")) + b"rest")
        ((b'', b'wide', b'wide'), b'rest')
    """
    distinct = list(dict.fromkeys(filter(None, profiles)))
    numbers = [1 + distinct.index(profile) if profile else 0 for profile in profiles]
    lengths = struct.pack(f"<{1 + len(distinct)}I", len(distinct), *map(len, distinct))
    packed = zlib.compress(lengths + b"".join(distinct) + struct.pack(f"<{len(numbers)}I", *numbers), 9)
    return struct.pack("<I", len(packed)) + packed


def unpack_profiles(body: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """The profiles that `pack_profiles` wrote, and what stands behind them.

    Errors: `UserError` for anything else.
    """
    try:
        (length,) = struct.unpack_from("<I", body)
        inflater = zlib.decompressobj()
        plain = inflater.decompress(body[4 : 4 + length], MOST_INFLATED)
        if not inflater.eof or inflater.unused_data or len(body) < 4 + length:
            raise ValueError
        (count,) = struct.unpack_from("<I", plain)
        if 4 * count > len(plain):
            raise ValueError
        distinct, at = [b""], 4 * (1 + count)
        for size in struct.unpack_from(f"<{count}I", plain, 4):
            distinct.append(plain[at : at + size])
            at += size
        numbers = struct.unpack(f"<{max(0, len(plain) - at) // 4}I", plain[at:])
        return tuple(distinct[number] for number in numbers), body[4 + length :]
    except (struct.error, zlib.error, ValueError, IndexError):
        raise damaged("its colour profiles are wrong") from None
