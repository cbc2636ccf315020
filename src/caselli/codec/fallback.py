"""Pictures as PNG or WebP, where the model would take more bytes."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from caselli.codec.container import Group, agree, checksum
from caselli.codec.lossless import MODES, check_png, damaged, lossless_webp, optimised_png
from caselli.errors import UserError, is_out_of_memory
from caselli.shapes import Shaped, Tensor


def fallback(picture: Shaped[Tensor, "C H W"]) -> Group:
    """The picture as a PNG, or as WebP where that is smaller by more than a header."""
    pixels = picture.permute(1, 2, 0).contiguous().numpy()
    png, webp = optimised_png(pixels), lossless_webp(pixels)
    smaller = webp and len(webp) + 24 < len(png)
    kind, data = ("webp", webp) if smaller else ("png", png)
    channels, height, width = picture.shape
    return Group(kind, channels, height, width, 1, checksum(pixels.tobytes()), data)


def read_fallback(group: Group) -> Shaped[Tensor, "1 C H W"]:
    """The picture of a group of the kind `png` or `webp`.

    Errors: `UserError` for one that is damaged.
    """
    try:
        if group.kind == "png":
            check_png(group.data)
        image = Image.open(io.BytesIO(group.data), formats=[group.kind.upper()])
        if image.size != (group.width, group.height):
            raise damaged("its size is another")
        pixels = np.array(image.convert(MODES[group.channels]))
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise anything at all on broken files
        if is_out_of_memory(error):
            raise
        raise damaged(str(error)) from None
    pixels = pixels.reshape(group.height, group.width, group.channels)
    agree(checksum(pixels.tobytes()), group)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]
