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
import math
import mmap
import os
import signal
import struct
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageCms

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

WHITES = (1, 255, 1023, 4095, 16383, 65535)
"""Values that white has in samples of 1, 8, 10, 12, 14 and 16 bits; 1 in floating-point numbers."""

ROWS = 64
"""Rows of a deep picture whose samples are brought to 8 bits at a time."""

SAME_LEVELS = 2
"""A colour profile that moves no colour by more levels than this is sRGB; most pictures carry such a one."""

GAMMA = b"gAMA"
"""Name of a PNG's chunk, and the beginning of what `own_colours` gives of it."""

Whites = tuple[int, int]
BY_PICTURE: Whites = (0, 0)

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
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.offset)
            data = file.read(self.length)
        if self.length >= 0 and len(data) != self.length:
            raise OSError("the file is shorter than it was")
        return data


def decode(data: bytes, size: int, channels: int, whites: Whites = BY_PICTURE) -> np.ndarray:
    """A picture's bytes as uint8 `C size size`: upright, on white, the middle square, antialiased.

    EXIF orientation is applied; transparency is laid on white; deeper grey is scaled to 8 bits; of several
    frames the first is taken; colours are brought to sRGB by the profile, or a PNG's gamma, of the file.

    Arguments:
        data: a file of one of `FORMATS`.
        size: the side of the result, in pixels.
        channels: 1 (grey) or 3 (colour).
        whites: values of white in deep samples, of whole and of floating-point numbers; 0: by the picture.

    Raises:
        BadPicture: the bytes are no picture, are cut short, or claim too many pixels.

    Example:
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (40, 20), "white").save(file, "PNG")
        >>> picture = decode(file.getvalue(), 8, 1)
        >>> picture.shape, int(picture.min())
        ((1, 8, 8), 255)
    """
    pixels = np.empty((channels, size, size), np.uint8)
    _decode_into(pixels, data, whites)
    return pixels


def _decode_into(pixels: np.ndarray, data: bytes, whites: Whites) -> bytes:
    """Writes a decoded picture where it is wanted, plane by plane, and gives nothing."""
    channels, size, _ = pixels.shape
    image = _as(square(upright(data, size, whites), size), "L" if channels == 1 else "RGB")
    for plane, band in zip(pixels, image.getbands(), strict=True):
        plane[:] = np.frombuffer(image.tobytes("raw", band), np.uint8).reshape(plane.shape)
    return b""


def upright(data: bytes, size: int | None = None, whites: Whites = BY_PICTURE) -> Image.Image:
    """The whole picture as `L` or `RGB`, as it is meant to be seen.

    `size` says how small the picture may be decoded: JPEG saves time by it.
    """
    with bad_if_broken():
        image = opened(data)
        if size is not None:
            image.draft(None, (3 * size, 3 * size))
        image, _ = shallow(image, data, whites)
        return flat(in_srgb(oriented(image)))


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


def oriented(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; unreadable EXIF says nothing."""
    orientation = _orientation(image)
    return image.transpose(ORIENTATIONS[orientation]) if orientation in ORIENTATIONS else image


def _orientation(image: Image.Image) -> int:
    with contextlib.suppress(Exception):
        return image.getexif().get(0x0112, 1)
    return 1


def own_colours(image: Image.Image) -> bytes:
    """A file's own words on its colours: its ICC profile; else the chunk of a PNG that names a gamma other
    than sRGB's, with its name; empty where it says nothing, or sRGB.

    Source: the specification of PNG, third edition: a profile and sRGB go before gAMA; libpng for the bounds.
    """
    gamma = image.info.get("gamma", 0)
    if profile := image.info.get("icc_profile"):
        return profile
    if "srgb" in image.info or not 0.00016 <= gamma <= 6250 or abs(2.2 * gamma - 1) < 0.05:
        return b""
    return GAMMA + round(100_000 * gamma).to_bytes(4, "big")


def in_srgb(image: Image.Image) -> Image.Image:
    """The picture with its colours in sRGB, by the profile or the gamma that it carries; left as it is
    without one, with a broken one, and where it says sRGB.

    Source: ICC.1:2022; the conversion is that of LittleCMS, perceptual.
    """
    profile = own_colours(image)
    if not profile:
        return image
    if image.mode in ("P", "PA", "1"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in ("L", "RGB") and image.has_transparency_data:
        image = image.convert(f"{image.mode}A")  # the transparent colour is one of those that move
    if profile.startswith(GAMMA):
        alpha = image.mode in ("LA", "RGBA")
        levels = _levels_of_gamma(int.from_bytes(profile[4:], "big") / 100_000)
        return image.point(levels * (len(image.getbands()) - alpha) + list(range(256)) * alpha)
    modes = {"L": ("L", "RGB"), "LA": ("L", "RGB"), "RGB": ("RGB", "RGB"), "RGBA": ("RGBA", "RGBA")}
    source, target = modes.get(image.mode, (image.mode, "RGB"))
    transform = _to_srgb(profile, source, target)
    if transform is None:
        return image
    if image.mode not in ("L", "LA"):
        found = ImageCms.applyTransform(image, transform)
        found.info = {name: value for name, value in image.info.items() if name != "icc_profile"}
        return found
    grey = ImageCms.applyTransform(image.getchannel(0), transform).convert("L")
    return Image.merge("LA", (grey, image.getchannel(1))) if image.mode == "LA" else grey


@functools.lru_cache(maxsize=32)
def _levels_of_gamma(gamma: float) -> list[int]:
    """Level of sRGB of each level s that was made of light by a power: light = (s / 255)^(1 / gamma).

    Source: the specification of PNG, gAMA; IEC 61966-2-1.
    """
    light = (np.arange(256) / 255) ** (1 / gamma)
    levels = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * levels).astype(int).tolist()


@functools.lru_cache(maxsize=32)
def _to_srgb(profile: bytes, source: str, target: str) -> ImageCms.ImageCmsTransform | None:
    """The conversion to sRGB; None for a profile that is broken, of other channels, or sRGB to the eye."""
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), source, target)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if source not in ("RGB", "RGBA"):
        return transform
    levels = np.stack(np.meshgrid(*[np.arange(0, 256, 17, dtype=np.uint8)] * 3), -1).reshape(1, -1, 3)
    test = Image.fromarray(levels).convert(source)
    moved = np.asarray(ImageCms.applyTransform(test, transform)).astype(int) - np.asarray(test)
    return transform if np.abs(moved).max() > SAME_LEVELS else None


def flat(image: Image.Image) -> Image.Image:
    """Any mode of 8 bits as `L` or `RGB`; what is transparent becomes white."""
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), colour).convert("RGB")
    return _as(image, "L" if image.mode in ("1", "L") else "RGB")


def _as(image: Image.Image, mode: str) -> Image.Image:
    """The picture in a mode; itself where it has it, of which Pillow would make a copy."""
    return image if image.mode == mode else image.convert(mode)


def shallow(
    image: Image.Image, data: bytes, whites: Whites = BY_PICTURE
) -> tuple[Image.Image, tuple[int, bool] | None]:
    """An opened picture with samples of 8 bits; and the value of its white, and whether its numbers are
    floating-point ones, where they had more.

    Pillow's own conversion clips grey instead of scaling it, and gives the upper bytes alone of colours.

    Arguments:
        image: as it was opened.
        data: its file.
        whites: values of white, of whole and of floating-point numbers; 0: by the picture.
    """
    if not (is_deep(image) or is_deep_colour(image)):
        image.load()
        return image, None
    values = deep_colour(data) if is_deep_colour(image) else np.asarray(image)
    floating = image.mode == "F"
    top = whites[floating] or white_in(image, values) or 0
    pixels = eight_bits(image, values, top)
    if image.mode == "RGB" and top == WHITES[-1]:
        return image, (top, floating)
    found = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = _orientation(image)
    found.info = {name: image.info[name] for name in ("icc_profile", "gamma", "srgb") if name in image.info}
    found.info["exif"] = exif.tobytes()
    return found, (top, floating)


def is_deep(image: Image.Image) -> bool:
    """True for grey of more than 8 bits, or of floating-point numbers."""
    return image.mode.startswith("I") or image.mode == "F"


_OTHER_BYTES = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B"}
_OTHER_BYTES["RGB;16N"] = _OTHER_BYTES["RGB;16L" if sys.byteorder == "little" else "RGB;16B"]
"""Pillow's names for colours of 16 bits, of which it takes the upper bytes → names by which it takes the
lower ones."""


def is_deep_colour(image: Image.Image) -> bool:
    """True for an opened picture of colours of 16 bits without transparency."""
    modes = [_raw_mode(tile.args) for tile in image.tile]
    is_plain = image.mode == "RGB" and "transparency" not in image.info
    return is_plain and bool(modes) and all(mode in _OTHER_BYTES for mode in modes)


def _raw_mode(arguments: str | tuple) -> str:
    return arguments if isinstance(arguments, str) else arguments[0] if arguments else ""


def deep_colour(data: bytes) -> np.ndarray:
    """Colours of 16 bits `H W 3`: the picture is decoded for their upper bytes, and again for the lower."""
    values, lower = np.asarray(opened(data)).astype(np.uint16), opened(data)
    for number, tile in enumerate(lower.tile):
        other = _OTHER_BYTES[_raw_mode(tile.args)]
        arguments = other if isinstance(tile.args, str) else (other, *tile.args[1:])
        lower.tile[number] = tile._replace(args=arguments)
    values <<= 8
    values |= np.asarray(lower)
    return values


def eight_bits(image: Image.Image, values: np.ndarray, top: int) -> np.ndarray:
    """Deep values of a picture as uint8; a transparent level becomes white.

    Arguments:
        image: as it was opened.
        values: its samples.
        top: the value of white.
    """
    lowest, highest = values.min(), values.max()
    if not top or not (lowest >= 0 and highest <= top):  # also for not-a-number
        raise BadPicture(f"values {lowest:g} … {highest:g}, beyond 0 … {top or WHITES[-1]}")
    levels = np.empty(values.shape, np.uint8)
    for first in range(0, len(values), ROWS):  # in numbers of 8 bytes the whole might not fit in memory
        levels[first : first + ROWS] = np.rint(values[first : first + ROWS].astype(np.float64) * (255 / top))
    if _tags(image).get(0x0106) == 0:  # white is zero; Pillow turns 8 bits alone
        levels = 255 - levels
    key = image.info.get("transparency")
    if key is not None:
        levels[values == key] = 255
    return levels


def white_in(image: Image.Image, values: np.ndarray) -> int | None:
    """The value of white in deep samples: what the file says, else what they suggest."""
    found = said_white(image) or white_of(values.min(), values.max(), image.mode == "F")
    is_signed = _tags(image).get(0x0153, (1,))[0] == 2 and _tags(image).get(0x0102, (8,))[0] == 16
    return min(found, 32767) if found and is_signed else found


def _tags(image: Image.Image) -> Mapping[int, Any]:
    """The tags of a TIFF; none of any other picture."""
    return getattr(image, "tag_v2", {})


def has_signs(image: Image.Image) -> bool:
    """True for a TIFF of 8 bits whose numbers have a sign, which Pillow takes for plain bytes."""
    tags = _tags(image)
    return tags.get(0x0153, (1,))[0] == 2 and tags.get(0x0102, (1,))[0] == 8


def said_white(image: Image.Image) -> int | None:
    """The value of white by the file's own words: a TIFF's largest value, or its bits below 16."""
    tags = _tags(image)
    largest = [
        tag[0] if isinstance(tag, tuple) else tag for tag in (tags.get(0x0119), tags.get(0x0155)) if tag
    ]
    bits = (tags.get(0x0102) or (16,))[0]
    return round(largest[0]) if largest and largest[0] >= 1 else (1 << bits) - 1 if 8 < bits < 16 else None


def white_of(lowest: float, highest: float, floating: bool) -> int | None:
    """The value of white that numbers suggest: the least of `WHITES` that none exceeds; None where some lie
    beyond all, or are no numbers, or floating-point numbers are hardly above 1.

    Example:
        >>> white_of(0, 1, False), white_of(3, 255, True), white_of(0, 4000, False), white_of(0, 1.2, True)
        (1, 255, 4095, None)
    """
    lowest, highest = float(lowest), float(highest)  # float16 has no 65535
    if not (lowest >= 0 and highest <= WHITES[-1]) or (floating and 1 < highest <= 2):
        return None
    return next(white for white in WHITES if highest <= white)


def square(image: Image.Image, size: int) -> Image.Image:
    """The middle square, resized by a Lanczos filter; untouched where it has the size already."""
    if image.size == (size, size):
        return image
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    middle = image.crop((left, top, left + side, top + side))
    if side == size:
        return middle
    return middle.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)


def digest(pixels: bytes | np.ndarray) -> bytes:
    """Eight bytes that stand for a picture."""
    return hashlib.blake2b(pixels, digest_size=8).digest()


def probe(data: bytes) -> bytes:
    """JSON of a picture's short side, whether it is grey, and white in deep samples and their kind."""
    with bad_if_broken():
        side = min(opened(data).size)
        image = opened(data)
        image.draft(None, (192, 192))
        image, deep = shallow(image, data)
        white, floating = deep or (0, False)
        image = flat(oriented(image))
    image.thumbnail((256, 256))
    values = np.asarray(image)
    grey = values.ndim == 2 or bool((values == values[..., :1]).all())
    return json.dumps({"side": side, "grey": grey, "white": white, "floating": floating}).encode()


def _digest_of(pixels: np.ndarray, data: bytes, whites: Whites) -> bytes:
    _decode_into(pixels, data, whites)
    return digest(pixels)


OPERATIONS = {
    "pixels": _decode_into,
    "digest": _digest_of,
    "probe": lambda pixels, data, whites: probe(data),
}
"""Operations of a worker by name; each has room for pixels and gives bytes."""


NO_ROOM = np.empty((0, 0, 0), np.uint8)
"""Room of an operation that gives no pixels."""


def perform(operation: str, location: Location, pixels: np.ndarray, whites: Whites) -> bytes | BadPicture:
    """One operation on one picture; what cannot be read is an answer, not an exception."""
    try:
        return OPERATIONS[operation](pixels, location.read(), whites)
    except BadPicture as bad:
        return bad
    except OSError as error:
        return BadPicture(f"cannot be read ({error.strerror or error})")


class Area:
    """Memory for pixels that a worker and its owner share; by a pipe they would be copied twice more.

    Arguments:
        file: descriptor of a file of which both have a map.
    """

    def __init__(self, file: int) -> None:
        self.file, self.bytes = file, np.empty(0, np.uint8)

    def rows(self, begin: int, *shape: int) -> np.ndarray:
        """The memory from a byte on, as an array of such a shape."""
        end = begin + math.prod(shape)
        if len(self.bytes) < end:
            self.bytes = np.frombuffer(mmap.mmap(self.file, os.fstat(self.file).st_size), np.uint8)
        return self.bytes[begin:end].reshape(shape)


def serve(requests: BinaryIO, replies: BinaryIO, area: Area) -> None:
    """A worker's life: a line of JSON in, a frame out for each of its locations, until the pipe closes.

    Pixels are put into the area, where the request says."""
    for line in requests:
        request = json.loads(line)
        places = request["locations"]
        rows = area.rows(request["begin"], len(places), *request["shape"])
        for place, pixels in zip(places, rows, strict=True):
            answer = perform(request["operation"], Location(*place), pixels, request["whites"])
            good = isinstance(answer, bytes)
            body = answer if good else str(answer).encode(errors="replace")
            replies.write(FRAME.pack(good, len(body)) + body)
        replies.flush()  # once: to wake a process for every picture costs more than its frame


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; it closes the pipe
    with contextlib.suppress(BrokenPipeError), os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a library prints must not get among the frames
        serve(sys.stdin.buffer, answers, Area(int(sys.argv[1])))
