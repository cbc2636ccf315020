"""Random changes of training pictures."""

from __future__ import annotations

import dataclasses

import torch

from caselli.errors import UserError
from caselli.shapes import Int, Shaped, Tensor


@dataclasses.dataclass(frozen=True)
class Augment:
    """Small random changes of each picture.

    Example:
        >>> pictures = torch.arange(3, dtype=torch.uint8).view(1, 1, 1, 3)
        >>> moves = Augment(flip=True).draw(1, torch.Generator())
        >>> Augment.apply(pictures, moves).flatten().tolist() in ([0, 1, 2], [2, 1, 0])
        True
    """

    flip: bool = False
    """Left and right change places for half of the pictures."""
    shift: int = 0
    """The picture is moved by up to this many pixels along each axis; what is laid bare repeats the edge."""

    def __post_init__(self) -> None:
        if self.shift < 0:
            raise UserError(f"shift {self.shift} was given", "0 pixels or more were expected")

    def draw(self, batch: int, random: torch.Generator) -> Int[Tensor, "B 3"]:
        """Flip (0 or 1), and the moves down and right, of each picture."""
        flips = torch.randint(2, (batch, 1), generator=random) * self.flip
        moves = torch.randint(-self.shift, self.shift + 1, (batch, 2), generator=random)
        return torch.cat([flips, moves], 1)

    @staticmethod
    def apply(
        pictures: Shaped[Tensor, "B C H W"], moves: Int[Tensor, "B 3"] | None
    ) -> Shaped[Tensor, "B C H W"]:
        """The pictures flipped, then moved; unchanged without moves."""
        if moves is None:
            return pictures
        height, width = pictures.shape[-2:]
        rows = (torch.arange(height) - moves[:, 1:2]).clamp(0, height - 1)
        columns = (torch.arange(width) - moves[:, 2:3]).clamp(0, width - 1)
        columns = torch.where(moves[:, :1] > 0, width - 1 - columns, columns)
        picture = torch.arange(len(pictures))[:, None, None]
        return pictures.movedim(1, -1)[picture, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
