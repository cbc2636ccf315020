"""Pictures as PNG and lossless WebP: the codec's fallback, and its rivals."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from caselli.decoding import GAMMA
from caselli.errors import UserError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
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
    """The smallest PNG that Pillow writes: with a palette where 256 colours suffice, and under each of zlib's
    strategies.

    Arguments:
        pixels: `H W C` uint8, C of 1 to 4.

    Example:
        >>> len(optimised_png(np.zeros((8, 8, 3), dtype=np.uint8)))
        68
    """
    images = [image_of(pixels), *_with_palette(pixels)]
    return min((_png(image, strategy) for image in images for strategy in STRATEGIES), key=len)


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


def with_profile(png: bytes, profile: bytes) -> bytes:
    """The PNG with an ICC profile, or the chunk of a gamma, behind its header.

    Example:
        >>> plain = optimised_png(np.zeros((8, 8, 3), dtype=np.uint8))
        >>> Image.open(io.BytesIO(with_profile(plain, b"wide"))).info["icc_profile"]
        b'wide'
    """
    if not profile:
        return png
    is_chunk = profile.startswith(GAMMA)
    content = profile if is_chunk else b"iCCP" + b"ICC profile\0\0" + zlib.compress(profile, 9)
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    end = len(SIGNATURE) + 25  # of the header, which comes first and is always as long
    return png[:end] + chunk + png[end:]


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
    """The error for a file that is not as it was written."""
    return UserError(f"a damaged file was given: {why}", "a whole file was expected", "copy it again")


def _with_palette(pixels: np.ndarray) -> Iterator[Image.Image]:
    """The picture as indices of its colours, where these are at most 256 and there is no alpha."""
    height, width, channels = pixels.shape
    if channels not in (1, 3):
        return
    colours, indices = np.unique(pixels.reshape(-1, channels), axis=0, return_inverse=True)
    if len(colours) <= 256:
        image = Image.fromarray(indices.reshape(height, width).astype(np.uint8), "P")
        image.putpalette(np.broadcast_to(colours, (len(colours), 3)).astype(np.uint8).tobytes())
        yield image


def _png(image: Image.Image, strategy: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=9, compress_type=strategy)
    return file.getvalue()
