"""Picture files as they are: every channel, neither cropped nor resized."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from caselli.codec.codec import MOST_PIXELS
from caselli.codec.lossless import MODES
from caselli.data import BadPicture, decode, formats, oriented
from caselli.errors import UserError, is_out_of_memory
from caselli.shapes import Shaped, Tensor


def every_pixel(path: Path, allow_large: bool = False) -> Shaped[Tensor, "C H W"]:
    """A picture's pixels, upright: grey or colour, with alpha where it has that; a palette is looked up.

    Errors: `UserError` for what is no picture, has more than 8 bits a channel, several frames, or too many
    pixels.
    """
    try:
        image = _opened(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror or 'no picture'})", "a picture was expected"
        ) from None
    if image.width * image.height > MOST_PIXELS and not allow_large:
        raise UserError(
            f"{path} has {image.width} × {image.height} pixels",
            f"up to {MOST_PIXELS} were expected",
            "add --allow-large if this is meant",
        )
    if getattr(image, "n_frames", 1) > 1:
        raise UserError(f"{path} has {image.n_frames} frames", "a single picture was expected")
    try:
        image.load()
        image = oriented(image)
    except Exception as error:  # Pillow's decoders raise anything at all on broken files
        if is_out_of_memory(error):
            raise
        raise UserError(f"{path} cannot be decoded ({error})", "a whole picture was expected") from None
    pixels = np.array(image.convert(_mode(image, path)))
    return torch.from_numpy(pixels.reshape(image.height, image.width, -1)).permute(2, 0, 1).contiguous()


def _opened(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes()), formats=formats())


def _mode(image: Image.Image, path: Path) -> str:
    """The mode of 8 bits that holds all that the picture has."""
    plain = {"1": "L", "P": "RGB", "L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "PA": "RGBA"}
    if image.mode not in plain:
        raise UserError(
            f"{path} has pixels of kind {image.mode}", f"one of {', '.join(MODES.values())} was expected"
        )
    mode = plain[image.mode]
    if image.has_transparency_data and mode in ("L", "RGB"):
        return "LA" if mode == "L" else "RGBA"
    return mode


def at_size(path: Path, size: int, channels: int) -> Shaped[Tensor, "C S S"]:
    """The middle square at the model's size, as `caselli reconstruct` takes it.

    Errors: `UserError` for what is no picture.
    """
    try:
        return torch.from_numpy(decode(path.read_bytes(), size, channels).copy())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", "a picture was expected") from None
    except BadPicture as error:
        raise UserError(f"{path} was given: {error}", "a whole picture was expected") from None
