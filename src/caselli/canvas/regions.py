"""The parts of a picture that completion keeps."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from caselli.errors import UserError, lookup
from caselli.shapes import Bool, Float, Tensor

HALVES = {
    "upper": (slice(0, 1), slice(0, 2)),
    "lower": (slice(1, 2), slice(0, 2)),
    "left": (slice(0, 2), slice(0, 1)),
    "right": (slice(0, 2), slice(1, 2)),
}
"""Name → the quarters that a half holds, rows and columns."""


def half(name: str, size: int) -> Bool[Tensor, "H W"]:
    """A mask of one half of a square picture.

    Arguments:
        name: in `HALVES`.
        size: side of the picture; of an odd one the lower and the right half are the larger.

    Example:
        >>> half("lower", 2)
        tensor([[False, False],
                [ True,  True]])
    """
    keep = torch.zeros(size, size, dtype=torch.bool)
    edges = (0, size // 2, size)
    rows, columns = (slice(edges[s.start], edges[s.stop]) for s in lookup(HALVES, "half", name))
    keep[rows, columns] = True
    return keep


def placed(
    pictures: Sequence[Float[Tensor, "C h w"]], size: tuple[int, int], place: tuple[int, int]
) -> tuple[Float[Tensor, "B C H W"], Bool[Tensor, "H W"]]:
    """Pictures of one size on larger empty ones, and the mask of where they lie.

    Arguments:
        pictures: in [−1, 1].
        size: height and width of the larger ones.
        place: pixels from the top and from the left.

    Errors: `UserError` for pictures of several sizes, or a place where they do not fit.

    Example:
        >>> placed([torch.ones(1, 1, 1)], (1, 2), (0, 1))[1]
        tensor([[False,  True]])
    """
    (top, left), (height, width) = place, pictures[0].shape[1:]
    unequal = any(picture.shape != pictures[0].shape for picture in pictures)
    if unequal or top + height > size[0] or left + width > size[1]:
        sizes = ", ".join(f"{x.shape[2]}×{x.shape[1]}" for x in pictures)
        raise UserError(
            f"pictures of {sizes} at {left},{top} were given",
            f"one size was expected, and a place within {size[1]}×{size[0]}",
        )
    large = torch.zeros(len(pictures), len(pictures[0]), *size)
    keep = torch.zeros(size, dtype=torch.bool)
    rows, columns = slice(top, top + height), slice(left, left + width)
    large[:, :, rows, columns] = torch.stack(list(pictures))
    keep[rows, columns] = True
    return large, keep
