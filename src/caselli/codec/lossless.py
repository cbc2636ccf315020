"""Pictures as PNG and lossless WebP: what the codec falls back to, and is measured against."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from caselli.errors import UserError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's number for grey, grey with alpha, colour, colour with alpha."""
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_RLE)


def image_of(pixels: np.ndarray) -> Image.Image:
    """`H W C` uint8 as a Pillow image.

    Example:
        >>> image_of(np.zeros((2, 3, 1), dtype=np.uint8)).size
        (3, 2)
    """
    channels = pixels.shape[2]
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, MODES[channels])


def optimised_png(pixels: np.ndarray) -> bytes:
    """The smallest of PNGs with each filter, with the filter chosen line by line, and with a palette, under
    each of zlib's strategies: what optimisers of PNG try.

    Arguments:
        pixels: `H W C` uint8, C of 1 to 4.

    Example:
        >>> len(optimised_png(np.zeros((8, 8, 3), dtype=np.uint8)))
        68
    """
    height, width, channels = pixels.shape
    found = []
    palette = _palette(pixels)
    if palette is not None:
        colours, indices, bits = palette
        packed = _packed(indices, bits)
        found += [_png(width, height, bits, 3, colours, f) for f in _filtered(packed, 1)]
    lines = pixels.reshape(height, width * channels)
    found += [_png(width, height, 8, COLOUR_TYPES[channels], None, f) for f in _filtered(lines, channels)]
    image = io.BytesIO()
    image_of(pixels).save(image, "PNG", optimize=True)
    return min([*found, image.getvalue()], key=len)


def lossless_webp(pixels: np.ndarray) -> bytes:
    """Lossless WebP at its highest effort; empty where it cannot hold the picture (16,383 pixels a side).

    Example:
        >>> lossless_webp(np.zeros((8, 8, 3), dtype=np.uint8))[:4]
        b'RIFF'
    """
    if max(pixels.shape[:2]) > 16383:
        return b""
    file = io.BytesIO()
    colour = image_of(pixels).convert("RGBA" if pixels.shape[2] in (2, 4) else "RGB")
    colour.save(file, "WEBP", lossless=True, quality=100, method=6, exact=True)
    return file.getvalue()


def check_png(data: bytes) -> None:
    """Raises `UserError` unless every chunk is whole and its check sum right: Pillow is laxer."""
    at = len(SIGNATURE)
    name = b""
    while name != b"IEND":
        if at + 12 > len(data):
            raise damaged()
        length, name = struct.unpack(">I4s", data[at : at + 8])
        end = at + 12 + length
        if (
            end > len(data)
            or zlib.crc32(data[at + 4 : end - 4]) != struct.unpack(">I", data[end - 4 : end])[0]
        ):
            raise damaged()
        at = end
    if at != len(data):
        raise damaged()


def damaged(why: str = "its check sum is wrong") -> UserError:
    """What is said of a file that is not as it was written."""
    return UserError(f"a damaged file was given: {why}", "a whole file was expected", "copy it again")


def _palette(pixels: np.ndarray) -> tuple[bytes, np.ndarray, int] | None:
    """Colours, indices and bits of an index, where there are at most 256 colours and no alpha."""
    height, width, channels = pixels.shape
    if channels not in (1, 3):
        return None
    colours, indices = np.unique(pixels.reshape(-1, channels), axis=0, return_inverse=True)
    if len(colours) > 256:
        return None
    bits = next(b for b in (1, 2, 4, 8) if len(colours) <= 1 << b)
    rgb = np.broadcast_to(colours, (len(colours), 3)).astype(np.uint8).tobytes()
    return rgb, indices.reshape(height, width).astype(np.uint8), bits


def _packed(indices: np.ndarray, bits: int) -> np.ndarray:
    """Indices of a line, several to a byte."""
    height, width = indices.shape
    each = 8 // bits
    wide = np.pad(indices, ((0, 0), (0, -width % each))).reshape(height, -1, each)
    shifts = 8 - bits * np.arange(1, each + 1)
    return (wide.astype(np.int64) << shifts).sum(2).astype(np.uint8)


def _filtered(lines: np.ndarray, step: int) -> Iterator[bytes]:
    """The lines under each of PNG's five filters, and under each line's best."""
    x = lines.astype(np.int64)
    left, above = np.zeros_like(x), np.zeros_like(x)
    left[:, step:], above[1:] = x[:, :-step], x[:-1]
    corner = np.zeros_like(x)
    corner[1:, step:] = x[:-1, :-step]
    guess = left + above - corner
    far = [abs(guess - other) for other in (left, above, corner)]
    paeth = np.where((far[0] <= far[1]) & (far[0] <= far[2]), left, np.where(far[1] <= far[2], above, corner))
    every = [(x - p) % 256 for p in (0 * x, left, above, (left + above) // 2, paeth)]
    for number, rows in enumerate(every):
        yield _marked(rows, np.full(len(rows), number))
    cost = np.stack([np.minimum(rows, 256 - rows).sum(1) for rows in every])
    best = cost.argmin(0)
    yield _marked(np.stack(every)[best, np.arange(len(x))], best)


def _marked(rows: np.ndarray, filters: np.ndarray) -> bytes:
    return np.concatenate((filters[:, None], rows), 1).astype(np.uint8).tobytes()


def _png(width: int, height: int, bits: int, colour: int, palette: bytes | None, lines: bytes) -> bytes:
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))]
    if palette is not None:
        chunks.append((b"PLTE", palette))
    chunks += [(b"IDAT", min((_deflated(lines, s) for s in STRATEGIES), key=len)), (b"IEND", b"")]
    parts = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
    return SIGNATURE + b"".join(parts)


def _deflated(data: bytes, strategy: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 15, 9, strategy)
    return packer.compress(data) + packer.flush()
