"""Samples of more than 8 bits, whole and floating-point ones, brought to 8 by the value that white has."""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image

from caselli.decoding.opening import BadPicture, opened, orientation_of, tags_of

WHITES = (1, 255, 1023, 4095, 16383, 65535)
"""Values that white has in samples of 1, 8, 10, 12, 14 and 16 bits; 1 in floating-point numbers."""

ROWS = 64
"""Rows of a deep picture whose samples are brought to 8 bits at a time."""

Whites = tuple[int, int]

BY_PICTURE: Whites = (0, 0)


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
    exif[0x0112] = orientation_of(image)
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
    if tags_of(image).get(0x0106) == 0:  # white is zero; Pillow turns 8 bits alone
        levels = 255 - levels
    key = image.info.get("transparency")
    if key is not None:
        levels[values == key] = 255
    return levels


def white_in(image: Image.Image, values: np.ndarray) -> int | None:
    """The value of white in deep samples: what the file says, else what they suggest."""
    found = said_white(image) or white_of(values.min(), values.max(), image.mode == "F")
    is_signed = tags_of(image).get(0x0153, (1,))[0] == 2 and tags_of(image).get(0x0102, (8,))[0] == 16
    return min(found, 32767) if found and is_signed else found


def said_white(image: Image.Image) -> int | None:
    """The value of white by the file's own words: a TIFF's largest value, or its bits below 16."""
    tags = tags_of(image)
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
