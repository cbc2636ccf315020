"""One picture: encoded bytes → a square of uint8, or what is to be known before it is decoded."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from PIL import Image

from caselli.decoding.colours import flat, in_mode, in_srgb
from caselli.decoding.depth import BY_PICTURE, Whites, shallow
from caselli.decoding.opening import bad_if_broken, opened, oriented


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
        >>> import io
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (40, 20), "white").save(file, "PNG")
        >>> picture = decode(file.getvalue(), 8, 1)
        >>> picture.shape, int(picture.min())
        ((1, 8, 8), 255)
    """
    pixels = np.empty((channels, size, size), np.uint8)
    decode_into(pixels, data, whites)
    return pixels


def decode_into(pixels: np.ndarray, data: bytes, whites: Whites) -> bytes:
    """Writes a decoded picture where it is wanted, plane by plane, and gives nothing."""
    channels, size, _ = pixels.shape
    image = in_mode(square(upright(data, size, whites), size), "L" if channels == 1 else "RGB")
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
