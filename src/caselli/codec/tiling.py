"""Pictures ⟷ square tiles."""

from __future__ import annotations

import torch.nn.functional as F

from caselli.shapes import Shaped, Tensor


def tiles(pictures: Shaped[Tensor, "B C H W"], size: int) -> Shaped[Tensor, "n C S S"]:
    """Squares of a side, row by row of each picture; the last ones are filled up with their edges.

    Example:
        >>> import torch
        >>> tiles(torch.zeros(2, 1, 5, 4, dtype=torch.uint8), 4).shape
        torch.Size([4, 1, 4, 4])
    """
    height, width = pictures.shape[2:]
    x = F.pad(pictures.float(), (0, -width % size, 0, -height % size), mode="replicate").to(pictures.dtype)
    x = x.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # B C n S m S
    return x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def joined(parts: Shaped[Tensor, "n C S S"], height: int, width: int) -> Shaped[Tensor, "B C H W"]:
    """The inverse of `tiles`.

    Example:
        >>> import torch
        >>> x = torch.arange(20).view(1, 1, 5, 4)
        >>> torch.equal(joined(tiles(x, 4), 5, 4), x)
        True
    """
    size = parts.shape[2]
    x = parts.unflatten(0, (-1, -(-height // size), -(-width // size)))
    return x.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)[:, :, :height, :width]
