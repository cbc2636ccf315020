"""Several digits in a picture, each with its mask: the segmentation set that is drawn."""

from __future__ import annotations

import dataclasses
import math

import torch

from caselli.data.glyphs import CLASSES, draw_labels
from caselli.data.shuffle import generator
from caselli.shapes import Int, Shaped, Tensor

CELLS = 4
"""Two by two."""
CHARACTERS = 10
"""Only digits: c and C, or o, O and 0, differ by nothing but their size."""
SIZES = (0.9, 1.1, 1.3)
"""Side of a glyph's square, as a share of its cell's side; the ink is about half as high."""
STRAY = 0.125
"""Largest distance of a glyph from the middle of its cell, as a share of the cell's side; ink may overlap."""
PRESENT = 0.75
"""Probability that a cell holds a glyph; the first cell always does."""
PAPER, INK = (0.6, 1.0), (0.0, 0.35)
"""Brightness of the paper and of each glyph, 0 black to 1 white."""
LIGHT, NOISE = 0.25, 0.02
"""Fall of the light across a picture, at most, and the standard deviation of the noise."""


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Pictures of several glyphs."""

    pictures: Shaped[Tensor, "n 1 S S"]
    """uint8."""
    instances: Shaped[Tensor, "n S S"]
    """uint8; the number of the glyph that each pixel belongs to, from 1; 0 is paper."""
    labels: Int[Tensor, "n G"]
    """The class of each glyph, from 1; 0 where there is none."""

    def masks(self) -> Shaped[Tensor, "n S S"]:
        """The class of each pixel, 0 for paper, uint8."""
        classes = torch.cat([torch.zeros_like(self.labels[:, :1]), self.labels], 1).to(torch.uint8)
        return classes.gather(1, self.instances.flatten(1).long()).view_as(self.instances)


def draw_scenes(count: int, size: int, seed: int, split: str) -> Scenes:
    """Up to four digits a picture on uneven paper, with noise; the same seed draws the same pictures.

    A pixel belongs to a glyph that inks more than half of it, of several to the one on top.

    Arguments:
        count: number of pictures.
        size: their side in pixels.
        seed, split: which pictures.

    Example:
        >>> scenes = draw_scenes(2, 32, 0, "train")
        >>> scenes.pictures.shape, scenes.masks().shape, scenes.labels.shape
        (torch.Size([2, 1, 32, 32]), torch.Size([2, 32, 32]), torch.Size([2, 4]))
    """
    random = generator("scenes", seed, split)
    cell = size // 2
    box = round(max(SIZES) * cell)
    labels = torch.randint(1, CHARACTERS + 1, (count, CELLS), generator=random)
    glyphs = _glyphs(labels.flatten() - 1, cell, box, random).view(count, CELLS, box, box)
    present = torch.rand(count, CELLS, generator=random) < PRESENT
    present[:, 0] = True
    canvas = _paper(count, size, random)
    instances = torch.zeros(count, size, size, dtype=torch.uint8)
    for number in range(CELLS):
        ink = (1 - glyphs[:, number].float() / 255) * present[:, number, None, None]
        tops = _tops(count, cell, box, number, random)
        shade = _between(INK, torch.rand(count, 1, 1, generator=random))
        rows, columns = (tops[:, axis, None] + torch.arange(box) for axis in (0, 1))
        place = torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]
        canvas[place] = canvas[place] * (1 - ink) + shade * ink
        instances[place] = torch.where(ink > 0.5, number + 1, instances[place])
    canvas += NOISE * torch.randn(canvas.shape, generator=random)
    pictures = canvas.mul_(255).round_().clamp_(0, 255).to(torch.uint8)[:, None]
    return Scenes(pictures, instances, labels * present)


def class_names() -> tuple[str, ...]:
    """Paper, then the digits."""
    return ("paper", *CLASSES[:CHARACTERS])


def _paper(count: int, size: int, random: torch.Generator) -> Tensor:
    """Evenly bright paper under light that falls off in a random direction."""
    brightness = _between(PAPER, torch.rand(count, 1, 1, generator=random))
    angle = 2 * math.pi * torch.rand(count, 1, 1, generator=random)
    fall = LIGHT * torch.rand(count, 1, 1, generator=random)
    along = torch.linspace(-0.5, 0.5, size)
    return brightness * (1 - fall * (0.5 + angle.cos() * along[:, None] + angle.sin() * along) / 1.5)


def _glyphs(
    labels: Int[Tensor, "n"], cell: int, box: int, random: torch.Generator
) -> Shaped[Tensor, "n box box"]:
    """Each label's digit, black on white (uint8), of a random size, in the middle of its box."""
    chosen = torch.randint(len(SIZES), labels.shape, generator=random)
    glyphs = torch.full((len(labels), box, box), 255, dtype=torch.uint8)
    for index, share in enumerate(SIZES):
        side = round(share * cell)
        at, start = chosen == index, (box - side) // 2
        inside = slice(start, start + side)
        glyphs[at, inside, inside] = draw_labels(labels[at], side, random)[:, 0]
    return glyphs


def _tops(count: int, cell: int, box: int, number: int, random: torch.Generator) -> Int[Tensor, "n 2"]:
    """Upper left corner of each glyph's box: about its cell's middle, moved a little, inside the picture."""
    stray, corner = round(STRAY * cell), torch.tensor([number // 2, number % 2]) * cell
    moved = corner + (cell - box) // 2 + torch.randint(-stray, stray + 1, (count, 2), generator=random)
    return moved.clamp(0, 2 * cell - box)


def _between(ends: tuple[float, float], share: Tensor) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * share
