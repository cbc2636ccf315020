"""Random changes of the pictures that a discriminator sees, differentiable, for few pictures."""

from __future__ import annotations

import torch

from caselli.shapes import Float, Int, Tensor

TRANSLATION, CUTOUT = 0.125, 0.2
"""Largest shift and side of the hole, in sides of the picture."""


def diff_augment(pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Changes colours, shifts, and cuts a hole into each picture, at random; for real and made ones alike.

    A discriminator that sees every picture changed cannot learn few pictures by heart, and one that is
    applied behind the changes hands its gradient back through them, so that nothing of them shows in what is
    made. Random numbers come from torch's generator.

    Source: Zhao, Liu, Lin, Zhu, Han (2020), Differentiable augmentation for data-efficient GAN training.

    Example:
        >>> diff_augment(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 3, 16, 16])
    """
    count, _, height, width = pictures.shape

    def integers(low: int, high: int) -> Tensor:
        return torch.randint(low, high + 1, (count,), device=pictures.device)

    brightness, saturation, contrast = torch.rand(3, count, dtype=pictures.dtype, device=pictures.device)
    x = recoloured(pictures, brightness, saturation, contrast)
    far = [int(side * TRANSLATION + 0.5) for side in (height, width)]
    x = translated(x, integers(-far[0], far[0]), integers(-far[1], far[1]))
    hole = [int(side * CUTOUT + 0.5) for side in (height, width)]
    return cut_out(x, integers(0, height - hole[0] % 2), integers(0, width - hole[1] % 2))


def recoloured(
    x: Float[Tensor, "B C H W"],
    brightness: Float[Tensor, "B"],
    saturation: Float[Tensor, "B"],
    contrast: Float[Tensor, "B"],
) -> Float[Tensor, "B C H W"]:
    """Adds up to a half to all pixels, then spreads channels and then pixels around their means.

    Arguments:
        brightness, saturation, contrast: uniform on [0, 1); saturation is scaled by up to 2, contrast by a
            half to one and a half.
    """
    brightness, saturation, contrast = (u.view(-1, 1, 1, 1) for u in (brightness, saturation, contrast))
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (2 * saturation) + grey
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (contrast + 0.5) + mean


def translated(
    x: Float[Tensor, "B C H W"], down: Int[Tensor, "B"], right: Int[Tensor, "B"]
) -> Float[Tensor, "B C H W"]:
    """Each picture read at rows moved by `down` and columns moved by `right`; zero beyond the border."""
    rows, row_is_inside = _moved(x.shape[2], down)
    columns, column_is_inside = _moved(x.shape[3], right)
    picture = torch.arange(len(x), device=x.device)[:, None, None]
    moved = x.permute(0, 2, 3, 1)[picture, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return moved * (row_is_inside[:, None, :, None] & column_is_inside[:, None, None, :])


def _moved(side: int, shift: Tensor) -> tuple[Tensor, Tensor]:
    place = torch.arange(side, device=shift.device) + shift[:, None]
    return place.clamp(0, side - 1), (place >= 0) & (place < side)


def cut_out(
    x: Float[Tensor, "B C H W"], row: Int[Tensor, "B"], column: Int[Tensor, "B"]
) -> Float[Tensor, "B C H W"]:
    """Zeros in a box around a row and a column of each picture; at the border the box is smaller."""
    row_is_hit, column_is_hit = (
        _hit(side, middle) for side, middle in zip(x.shape[2:], (row, column), strict=True)
    )
    return x * ~(row_is_hit[:, None, :, None] & column_is_hit[:, None, None, :])


def _hit(side: int, middle: Tensor) -> Tensor:
    """Places of a side within a box of a fifth of it, the border's place taking what lies beyond."""
    length = int(side * CUTOUT + 0.5)
    box = (middle[:, None] - length // 2 + torch.arange(length, device=middle.device)).clamp(0, side - 1)
    return (box[:, :, None] == torch.arange(side, device=middle.device)).any(1)
