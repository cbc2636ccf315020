"""Permuted digits: a digit recognised from its pixels, one by one in a fixed random order."""

from __future__ import annotations

import functools
import string

import torch

from caselli.compare.tasks.base import Examples, SequenceTask
from caselli.data import Glyphs, draw_glyphs, generator
from caselli.shapes import Int, Tensor

LEVELS = 16
PICTURES = {"train": 300, "held_out": 50}
"""Number of pictures of each digit."""


class PermutedDigits(SequenceTask):
    """Digits of many fonts, warped, as pixels of 16 grey levels in a permutation that never changes.

    The digits of `caselli.data.glyphs`: 3,000 to learn from, 500 held out. Neighbours in the picture lie far
    apart in the sequence, so that a mixer has to join all of it.

    Arguments:
        side: height and width of the picture in pixels; T = side².

    Source: Le, Jaitly and Hinton 2015, A Simple Way to Initialize Recurrent Networks of Rectified Linear
    Units (permuted MNIST).

    Example:
        >>> made = PermutedDigits().examples(5, torch.Generator())
        >>> made.tokens.shape, (made.answers >= 0).sum().item()
        (torch.Size([5, 64]), 5)
    """

    def __init__(self, side: int = 8) -> None:
        self.side = side
        length = side * side
        super().__init__(tokens=LEVELS, answers=10, length=length, lengths=(length,), least=length)

    def draw(self, count, length, random, split):
        pixels, digits = _digits(self.side, split)
        rows = torch.randint(len(pixels), (count,), generator=random)
        return Examples.asked_last(pixels[rows], digits[rows, None])


@functools.lru_cache(maxsize=4)
def _digits(side: int, split: str) -> tuple[Int[Tensor, "n T"], Int[Tensor, "n"]]:
    """All pictures of a split as permuted grey levels, and their digits."""
    pictures, labels = draw_glyphs(PICTURES[split] * len(Glyphs.classes), side, 0, split)
    digit = labels < len(string.digits)  # the first classes are 0 … 9
    order = torch.randperm(side * side, generator=generator("permuted digits", side))
    levels = pictures[digit].flatten(1).long() * LEVELS // 256
    return levels[:, order], labels[digit]
