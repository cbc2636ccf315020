"""Pictures on tensors: bytes ⟷ [-1, 1], square crops, sizes and channels."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from caselli.shapes import Float, Shaped, Tensor

CHUNK = 1024
"""Pictures that are resized at a time."""


def to_float(pictures: Shaped[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Bytes 0 … 255 as float32 in [-1, 1].

    Example:
        >>> to_float(torch.tensor([0, 255], dtype=torch.uint8))
        tensor([-1.,  1.])
    """
    return pictures.float().div_(127.5).sub_(1)


def to_bytes(pictures: Float[Tensor, "*S"]) -> Shaped[Tensor, "*S"]:
    """The inverse of `to_float`: rounded, what lies outside [-1, 1] clamped; not-a-number becomes mid-grey.

    Example:
        >>> to_bytes(torch.tensor([-1.0, 0.5, 3.0]))
        tensor([  0, 191, 255], dtype=torch.uint8)
    """
    return pictures.float().nan_to_num(0).add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


def centre_square(pictures: Shaped[Tensor, "n C H W"]) -> Shaped[Tensor, "n C S S"]:
    """The largest square in the middle."""
    height, width = pictures.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pictures[..., top : top + side, left : left + side]


def with_size(pictures: Shaped[Tensor, "n C H W"], size: int) -> Shaped[Tensor, "n C size size"]:
    """uint8 pictures cropped to the middle square and resized, antialiased bicubic.

    Example:
        >>> with_size(torch.zeros(2, 1, 8, 10, dtype=torch.uint8), 16).shape
        torch.Size([2, 1, 16, 16])
    """
    pictures = centre_square(pictures)
    if pictures.shape[-1] == size:
        return pictures.contiguous()
    resized = [
        F.interpolate(chunk.float(), size=(size, size), mode="bicubic", antialias=True)
        .round_()
        .clamp_(0, 255)
        .to(torch.uint8)
        for chunk in pictures.split(CHUNK)
    ]
    return torch.cat(resized) if resized else pictures.new_zeros(0, pictures.shape[1], size, size)


def enlarged(pictures: Float[Tensor, "n C h w"], factor: int) -> Float[Tensor, "n C H W"]:
    """Small pictures in [-1, 1] with sides `factor` times as long, bicubic.

    Example:
        >>> enlarged(torch.zeros(2, 1, 8, 6), 2).shape
        torch.Size([2, 1, 16, 12])
    """
    height, width = pictures.shape[-2:]
    return F.interpolate(pictures, size=(height * factor, width * factor), mode="bicubic").clamp_(-1, 1)


def with_channels(pictures: Shaped[Tensor, "n C H W"], channels: int) -> Shaped[Tensor, "n channels H W"]:
    """uint8 pictures as grey (1) or colour (3); grey is the luma of ITU-R 601, as Pillow rounds it.

    Example:
        >>> with_channels(torch.full((1, 3, 1, 1), 200, dtype=torch.uint8), 1)
        tensor([[[[200]]]], dtype=torch.uint8)
    """
    if pictures.shape[1] == channels:
        return pictures
    if channels == 3:
        return pictures.expand(-1, 3, -1, -1).contiguous()
    weights = (19595, 38470, 7471)
    luma = sum(pictures[:, i].int() * weight for i, weight in enumerate(weights))
    return ((luma + 0x8000) >> 16).to(torch.uint8)[:, None]
