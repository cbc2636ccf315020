"""A picture file as it is: neither cropped nor resized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from caselli.data.decoding import BadPicture, upright
from caselli.errors import UserError
from caselli.shapes import Shaped, Tensor


def whole_picture(path: str | Path, channels: int) -> Shaped[Tensor, "C H W"]:
    """The picture of a file, uint8, upright.

    Errors: `UserError` if the file cannot be read, or is no picture.
    """
    try:
        image = upright(Path(path).read_bytes()).convert("L" if channels == 1 else "RGB")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", "a picture was expected") from None
    except BadPicture as error:
        raise UserError(f"{path} was given: {error}", "a whole picture was expected") from None
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if channels == 1 else pixels.movedim(-1, 0)
