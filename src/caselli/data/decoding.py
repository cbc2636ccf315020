"""One picture: encoded bytes → a square of uint8.

Runs inside the library and, started as a script, as a worker process. It therefore imports Pillow and numpy
alone: a worker starts in a tenth of a second and never imports torch, nor the user's main module.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import io
import json
import os
import signal
import struct
import sys
import warnings
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from caselli.errors import is_out_of_memory

FORMATS = (
    *("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "AVIF", "JPEG2000"),
    *("PPM", "TGA", "QOI", "ICO", "PCX", "SGI", "DDS", "SUN", "HEIF", "JXL"),
)
"""Formats that may be opened, under any file name: raster formats only, none that starts another program."""

OPTIONAL = {
    ".heic": "pillow-heif",
    ".heif": "pillow-heif",
    ".hif": "pillow-heif",
    ".jxl": "pillow-jxl-plugin",
}
"""File names of formats that Pillow reads by a package of the extra `formats`."""

_PLUGINS = {"pillow-heif": "pillow_heif", "pillow-jxl-plugin": "pillow_jxl"}
_FOUND = {package for package, module in _PLUGINS.items() if importlib.util.find_spec(module)}

EXTENSIONS = frozenset(
    (
        *(
            ".png",
            ".apng",
            ".jpg",
            ".jpeg",
            ".jpe",
            ".jfif",
            ".webp",
            ".bmp",
            ".dib",
            ".gif",
            ".tif",
            ".tiff",
        ),
        *(".avif", ".jp2", ".j2k", ".jpx", ".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".tga", ".qoi", ".ico"),
        *(".pcx", ".sgi", ".dds", ".ras", ".mpo"),
        *(ending for ending, package in OPTIONAL.items() if package in _FOUND),
    )
)
"""File names that are taken for pictures, in lower case."""

MOST_PIXELS = 1 << 27
"""A picture that claims more pixels than this is not opened: 134 million, 400 MB once decoded."""

ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → what sets the picture upright."""

FRAME = struct.Struct("<?I")
"""A worker's answer begins with: good or bad, and the number of bytes that follow."""


class BadPicture(Exception):
    """A picture that cannot be read; its text is the reason."""


class Location(NamedTuple):
    """Place of the bytes of one picture."""

    path: str
    offset: int = 0
    length: int = -1
    """-1: to the end of the file."""

    def read(self) -> bytes:
        """The bytes, all of them or an `OSError`."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            data = file.read(self.length)
        if self.length >= 0 and len(data) != self.length:
            raise OSError("the file is shorter than it was")
        return data


def decode(data: bytes, size: int, channels: int) -> np.ndarray:
    """A picture's bytes as uint8 `C size size`: upright, on white, the middle square, antialiased.

    EXIF orientation is applied; transparency is laid on white; 16-bit grey is scaled to 8 bits; of several
    frames the first is taken; colour profiles are ignored.

    Arguments:
        data: a file of one of `FORMATS`.
        size: the side of the result, in pixels.
        channels: 1 (grey) or 3 (colour).

    Raises:
        BadPicture: the bytes are no picture, are cut short, or claim too many pixels.

    Example:
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (40, 20), "white").save(file, "PNG")
        >>> picture = decode(file.getvalue(), 8, 1)
        >>> picture.shape, int(picture.min())
        ((1, 8, 8), 255)
    """
    image = square(upright(data, size), size).convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(image)
    return np.ascontiguousarray(pixels[None] if channels == 1 else pixels.transpose(2, 0, 1))


def upright(data: bytes, size: int | None = None) -> Image.Image:
    """The whole picture as `L` or `RGB`, as it is meant to be seen.

    `size` says how small the picture may be decoded: JPEG saves time by it.
    """
    with _bad_if_broken():
        image = _opened(data)
        if size is not None:
            image.draft(None, (3 * size, 3 * size))
        image.load()
        return flat(oriented(image))


def _opened(data: bytes) -> Image.Image:
    """The picture before its pixels are decoded."""
    image = Image.open(io.BytesIO(data), formats=formats())
    if image.width * image.height > MOST_PIXELS:
        raise BadPicture(f"{image.width} × {image.height} pixels are too many")
    return image


@functools.cache
def formats() -> tuple[str, ...]:
    """Formats in `FORMATS` that this build of Pillow and its plugins know."""
    Image.init()
    for package in _FOUND:
        plugin = importlib.import_module(_PLUGINS[package])
        getattr(plugin, "register_heif_opener", bool)()  # the other plugin registers itself
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextlib.contextmanager
def _bad_if_broken() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what is checked here, or does not matter
            yield
    except BadPicture:
        raise
    except Image.UnidentifiedImageError:
        raise BadPicture("not a picture") from None
    except Exception as error:  # Pillow's decoders raise anything at all on broken files
        if is_out_of_memory(error):
            raise
        raise BadPicture(f"cannot be decoded ({str(error) or type(error).__name__})") from error


def oriented(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; unreadable EXIF says nothing."""
    orientation = 1
    with contextlib.suppress(Exception):
        orientation = image.getexif().get(0x0112, 1)
    return image.transpose(ORIENTATIONS[orientation]) if orientation in ORIENTATIONS else image


def flat(image: Image.Image) -> Image.Image:
    """Any mode as `L` or `RGB`; what is transparent becomes white."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(eight_bits(image))
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), colour).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def eight_bits(image: Image.Image) -> np.ndarray:
    """16-bit grey (0 … 65535) or floating-point grey (0 … 1) as uint8.

    Pillow's own conversion clips instead of scaling.
    """
    values = np.asarray(image).astype(np.float64)
    top = 1.0 if image.mode == "F" else 65535.0
    if not (values.min() >= 0 and values.max() <= top):  # also false for not-a-number
        raise BadPicture(f"grey values beyond 0 … {top:g}")
    return np.rint(values * (255 / top)).astype(np.uint8)


def square(image: Image.Image, size: int) -> Image.Image:
    """The middle square, resized by a Lanczos filter; untouched where it has the size already."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    middle = image.crop((left, top, left + side, top + side))
    if side == size:
        return middle
    return middle.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)


def digest(pixels: bytes) -> bytes:
    """Eight bytes that stand for a picture."""
    return hashlib.blake2b(pixels, digest_size=8).digest()


def probe(data: bytes) -> bytes:
    """JSON of a picture's short side, and whether it is grey."""
    with _bad_if_broken():
        side = min(_opened(data).size)
    image = upright(data, 64)
    image.thumbnail((256, 256))
    values = np.asarray(image)
    grey = values.ndim == 2 or bool((values == values[..., :1]).all())
    return json.dumps({"side": side, "grey": grey}).encode()


OPERATIONS = {
    "pixels": lambda data, size, channels: decode(data, size, channels).tobytes(),
    "digest": lambda data, size, channels: digest(decode(data, size, channels).tobytes()),
    "probe": lambda data, size, channels: probe(data),
}
"""Operations of a worker by name; each gives bytes."""


def perform(operation: str, location: Location, size: int, channels: int) -> bytes | BadPicture:
    """One operation on one picture; what cannot be read is an answer, not an exception."""
    try:
        return OPERATIONS[operation](location.read(), size, channels)
    except BadPicture as bad:
        return bad
    except OSError as error:
        return BadPicture(f"cannot be read ({error.strerror or error})")


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """A worker's life: a line of JSON in, a frame out for each of its locations, until the pipe closes."""
    for line in requests:
        request = json.loads(line)
        for place in request["locations"]:
            answer = perform(request["operation"], Location(*place), request["size"], request["channels"])
            good = isinstance(answer, bytes)
            body = answer if good else str(answer).encode(errors="replace")
            replies.write(FRAME.pack(good, len(body)) + body)
            replies.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; it closes the pipe
    with contextlib.suppress(BrokenPipeError), os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a library prints must not get among the frames
        serve(sys.stdin.buffer, answers)
