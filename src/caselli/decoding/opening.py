"""A picture's file, opened: which formats are, what is refused before its pixels are decoded, and EXIF."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

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
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".gif"),
        *(".tif", ".tiff", ".avif", ".jp2", ".j2k", ".jpx", ".pbm", ".pgm", ".ppm", ".pnm"),
        *(".pfm", ".tga", ".qoi", ".ico", ".pcx", ".sgi", ".dds", ".ras", ".mpo"),
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


class BadPicture(Exception):
    """A picture that cannot be read; its text is the reason."""


def opened(data: bytes) -> Image.Image:
    """The picture before its pixels are decoded."""
    image = Image.open(io.BytesIO(data), formats=formats())
    if image.width * image.height > MOST_PIXELS:
        raise BadPicture(f"{image.width} × {image.height} pixels are too many")
    if has_signs(image):
        raise BadPicture("samples of 8 bits with a sign")
    return with_scaled_key(image, data)


def with_scaled_key(image: Image.Image, data: bytes) -> Image.Image:
    """The picture, its transparent level or colour on the scale of the pixels that Pillow gives of a PNG.

    Source: the specification of PNG, tRNS: the level has the depth of the file, which may be 2, 4 or 16 bits.
    """
    key = image.info.get("transparency")
    if image.format == "PNG" and key is not None:
        depth = data[24]
        if image.mode == "L" and depth in (2, 4):
            image.info["transparency"] = key * 255 // ((1 << depth) - 1)
        elif image.mode == "RGB" and depth == 16:
            image.info["transparency"] = tuple(value >> 8 for value in key)
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
def bad_if_broken() -> Iterator[None]:
    """Makes whatever Pillow raises on broken files a `BadPicture`."""
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


def has_signs(image: Image.Image) -> bool:
    """True for a TIFF of 8 bits whose numbers have a sign, which Pillow takes for plain bytes."""
    tags = tags_of(image)
    return tags.get(0x0153, (1,))[0] == 2 and tags.get(0x0102, (1,))[0] == 8


def tags_of(image: Image.Image) -> Mapping[int, Any]:
    """The tags of a TIFF; none of any other picture."""
    return getattr(image, "tag_v2", {})


def oriented(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; unreadable EXIF says nothing."""
    orientation = orientation_of(image)
    return image.transpose(ORIENTATIONS[orientation]) if orientation in ORIENTATIONS else image


def orientation_of(image: Image.Image) -> int:
    with contextlib.suppress(Exception):
        return image.getexif().get(0x0112, 1)
    return 1
