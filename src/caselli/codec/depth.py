"""Bits of a picture file's samples: Pillow gives 8 of colours that have more, without a word."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from caselli.codec.lossless import SIGNATURE
from caselli.decoding import has_signs

EIGHT = ("JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TGA", "QOI", "PCX", "SUN")
"""Formats whose samples have at most 8 bits, as Pillow reads them."""


def bits_per_sample(image: Image.Image, data: bytes) -> int | None:
    """Most bits that a sample of an opened picture has in its file; None where the file does not say.

    Arguments:
        image: opened, not loaded.
        data: the whole file.

    Source: the specifications of the formats: PNG (IHDR), TIFF 6.0 (BitsPerSample), ISO 15444-1 (SIZ), the
    AV1 and HEVC boxes of ISO 14496-15 and AV1-ISOBMFF.

    Example:
        >>> import io
        >>> file = io.BytesIO()
        >>> Image.new("I;16", (2, 2)).save(file, "PNG")
        >>> bits_per_sample(Image.open(file), file.getvalue())
        16
    """
    if image.mode.startswith("I") or image.mode == "F":
        return 32 if image.mode in ("I", "F") else 16
    return 8 if image.format in EIGHT else DEPTHS.get(image.format, _unknown)(image, data)


def _unknown(image: Image.Image, data: bytes) -> None:
    return None


def _png(image: Image.Image, data: bytes) -> int:
    return data[data.index(SIGNATURE) + 24]


def _ico(image: Image.Image, data: bytes) -> int:
    """An icon holds bitmaps, or PNGs of any depth."""
    return _png(image, data) if SIGNATURE in data else 8


def _tiff(image: Image.Image, data: bytes) -> int | None:
    """Pillow takes numbers with a sign for plain bytes."""
    return None if has_signs(image) else max(image.tag_v2.get(258) or (1,))


def _ppm(image: Image.Image, data: bytes) -> int:
    """The largest value stands last among the arguments of Pillow's decoder, where it is not 255."""
    arguments = image.tile[0].args
    largest = arguments[-1] if isinstance(arguments, tuple) and isinstance(arguments[-1], int) else 255
    return 16 if largest > 255 else 8


def _sgi(image: Image.Image, data: bytes) -> int:
    return 8 * data[3]


def _jpeg2000(image: Image.Image, data: bytes) -> int | None:
    """The size marker: 36 bytes behind it the number of components, then three bytes each."""
    at = data.find(b"\xff\x4f\xff\x51") + 4
    count = int.from_bytes(data[at + 36 : at + 38])
    depths = data[at + 38 : at + 38 + 3 * count : 3]
    return max(((depth & 0x7F) + 1 for depth in depths), default=None) if at > 3 else None


def _isobmff(image: Image.Image, data: bytes) -> int | None:
    """AVIF's and HEIF's boxes of how the picture and its alpha are coded."""
    found = []
    for box, read in ((b"av1C", _av1), (b"hvcC", _hevc)):
        at = data.find(box)
        while at >= 0:
            found.append(read(data[at + 4 : at + 24]))
            at = data.find(box, at + 4)
    return max(found, default=None)


def _av1(box: bytes) -> int:
    return 8 + 2 * (box[2] >> 6 & 1) + 2 * (box[2] >> 5 & 1)


def _hevc(box: bytes) -> int:
    return 8 + max(box[17] & 7, box[18] & 7)


def _dds(image: Image.Image, data: bytes) -> int:
    """Block compression 6 holds floating-point numbers."""
    arguments = image.tile[0].args
    return 16 if isinstance(arguments, tuple) and arguments[0] == 6 else 8


DEPTHS: dict[str, Callable[[Image.Image, bytes], int | None]] = {
    "PNG": _png,
    "ICO": _ico,
    "TIFF": _tiff,
    "PPM": _ppm,
    "SGI": _sgi,
    "JPEG2000": _jpeg2000,
    "AVIF": _isobmff,
    "HEIF": _isobmff,
    "DDS": _dds,
}
"""Format → bits of a sample, from Pillow's picture or the bytes."""
