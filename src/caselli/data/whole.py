"""A picture file as it is: neither cropped nor resized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from caselli.decoding import BadPicture, upright
from caselli.errors import UserError
from caselli.files import regular
from caselli.shapes import Shaped, Tensor


def whole_picture(path: str | Path, channels: int) -> Shaped[Tensor, "C H W"]:
    """The picture of a file, uint8, upright.

    Errors: `UserError` if the file cannot be read, or is no picture.
    """
    try:
        image = upright(picture_bytes(path)).convert("L" if channels == 1 else "RGB")
    except BadPicture as error:
        raise UserError(f"{path} was given: {error}", "a whole picture was expected") from None
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if channels == 1 else pixels.movedim(-1, 0)


def picture_bytes(path: str | Path) -> bytes:
    """The bytes of a picture's file.

    Errors: `UserError` if they cannot be read, or might never end.
    """
    try:
        return regular(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", "a picture was expected") from None
