"""Pictures between tensors, the browser's PNG, and what is uploaded."""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
import torch
from PIL import Image

from caselli.data import to_bytes, to_float
from caselli.decoding import BadPicture, decode
from caselli.errors import UserError
from caselli.shapes import Bool, Float, Tensor

PREFIX = "data:image/png;base64,"
HOT = 216, 24, 40
"""Red, green and blue of a heat map."""


def png(picture: Float[Tensor, "C H W"]) -> bytes:
    """A picture in [−1, 1] as a PNG file."""
    pixels = to_bytes(picture.detach().cpu()).movedim(0, -1).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def address(picture: Float[Tensor, "C H W"]) -> str:
    """A picture as a data address."""
    return PREFIX + base64.b64encode(png(picture)).decode()


def addresses(pictures: Float[Tensor, "B C H W"]) -> list[str]:
    """Data addresses of several pictures."""
    return [address(picture) for picture in pictures]


def uploaded(data: bytes, size: int, channels: int) -> Float[Tensor, "1 C size size"]:
    """An uploaded file as a picture of a model's size, by the reader of training pictures.

    Errors: `UserError` for what is no picture, cut short, or of too many pixels.
    """
    try:
        pixels = decode(data, size, channels)
    except BadPicture as error:
        raise UserError(f"the file cannot be used: {error}", "a picture was expected") from None
    return to_float(torch.from_numpy(pixels.copy()))[None]


def of_address(words: str, size: int, channels: int) -> Float[Tensor, "1 C size size"]:
    """The picture of a data address; see `uploaded`."""
    try:
        data = base64.b64decode(words.partition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        raise UserError("a picture of other letters was sent", "base64 was expected") from None
    return uploaded(data, size, channels)


def mask_of(words: str, size: int) -> Bool[Tensor, "H W"]:
    """The mask of a data address, true where it is white."""
    return of_address(words, size, 1)[0, 0] > 0


def heat(values: Float[Tensor, "H W"]) -> str:
    """Values from 0 to 1 as a data address of a red picture, the more opaque the higher."""
    opacity = (values.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    red = [np.full_like(opacity, level) for level in HOT]
    buffer = io.BytesIO()
    Image.fromarray(np.stack([*red, opacity], -1)).save(buffer, "PNG")
    return PREFIX + base64.b64encode(buffer.getvalue()).decode()
