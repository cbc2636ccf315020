"""Pictures beside their masks."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping

import torch
from PIL import Image

from caselli.report.grid import grid
from caselli.shapes import Float, Int, Tensor

PAPER, VOID_GREY = 1.0, 0.6
"""Class 0 is white, pixels of no class are grey."""


def class_colours(count: int) -> Float[Tensor, "K 3"]:
    """A colour in [0, 1] for each class: white for class 0, then hues far from each other.

    Example:
        >>> class_colours(3).shape
        torch.Size([3, 3])
    """
    hues = [(number * 0.618034) % 1 for number in range(count - 1)]  # the golden section spreads any number
    colours = [
        colorsys.hls_to_rgb(hue, (0.42, 0.6)[number // 8 % 2], 0.75) for number, hue in enumerate(hues)
    ]
    return torch.tensor([(PAPER,) * 3, *colours])


def coloured(masks: Int[Tensor, "B H W"]) -> Float[Tensor, "B 3 H W"]:
    """Masks as pictures in [-1, 1]; what is negative or 255 is grey."""
    known = (masks >= 0) & (masks != 255)
    colours = class_colours(int(masks.where(known, 0).max()) + 1)
    painted = colours[masks.where(known, 0)].movedim(-1, 1)
    return painted.where(known[:, None], VOID_GREY) * 2 - 1


def mask_image(mask: Int[Tensor, "H W"], classes: int) -> Image.Image:
    """A mask as a palette picture: its values are the classes, its palette their colours.

    Example:
        >>> mask_image(torch.tensor([[0, 2]]), 3).getpixel((1, 0))
        2
    """
    image = Image.fromarray(mask.to(torch.uint8).numpy(), mode="P")
    palette = torch.full((256, 3), VOID_GREY)
    palette[:classes] = class_colours(classes)
    image.putpalette(palette.mul(255).round().int().flatten().tolist())
    return image


def masks_grid(
    pictures: Float[Tensor, "B C H W"],
    masks: Int[Tensor, "B H W"],
    predicted: Mapping[str, Int[Tensor, "B H W"]],
) -> Image.Image:
    """Each picture, below it its true mask, below that each prediction with its name.

    Example:
        >>> x, masks = torch.zeros(4, 1, 32, 32), torch.zeros(4, 32, 32, dtype=torch.int64)
        >>> masks_grid(x, masks, {"predicted": masks}).size[0]
        414
    """
    rows = [pictures.cpu().expand(-1, 3, -1, -1), *(coloured(m.cpu()) for m in (masks, *predicted.values()))]
    columns = range(len(pictures))
    names = ["" if column else name for name in ("picture", "true mask", *predicted) for column in columns]
    return grid(torch.cat(rows), columns=len(pictures), labels=names)
