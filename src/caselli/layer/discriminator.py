"""The contract of discriminators: pictures → scores."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from caselli.errors import UserError
from caselli.shapes import Float, Tensor

SLOPE = 0.2
"""Slope of the leaky rectifiers below zero."""


class Discriminator(nn.Module, ABC):
    """Pictures `B C H W` → scores `B 1 h w`, high where they look like data; one score is `h = w = 1`.

    Unless it is asked for, it has no normalisation over the batch, so a picture's scores do not depend on
    whether it is judged beside data or beside made ones, and any objective of `caselli.divergence` that needs
    a critic can train it.

    A method extends this class, is final, and gives `score`.

    Arguments:
        width: channels of the first layer.
        channels: C of the pictures.
        smallest: pixels a side that the pictures must have.
    """

    def __init__(self, width: int, channels: int, smallest: int) -> None:
        super().__init__()
        if width < 1 or channels < 1:
            raise UserError(f"width {width} and channels {channels} were given", "at least 1 was expected")
        self.width, self.channels, self.smallest = width, channels, smallest

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 h w"]:
        if (
            pictures.ndim != 4
            or pictures.shape[1] != self.channels
            or min(pictures.shape[2:]) < self.smallest
        ):
            raise UserError(
                f"pictures of shape {tuple(pictures.shape)} were given to a {type(self).__name__}",
                f"B {self.channels} H W with at least {self.smallest} pixels a side was expected",
                "fewer layers take smaller pictures",
            )
        return self.score(pictures)

    @abstractmethod
    def score(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 h w"]:
        """The scores of pictures that fit."""
