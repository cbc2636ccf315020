"""Perceptual distances of pictures, each with the name that reports give it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional

from caselli.features import LPIPS
from caselli.shapes import Float, Tensor

Distance = Callable[[Tensor, Tensor], Tensor]
"""Two batches of pictures in [−1, 1] → one number for each pair, 0 for equal ones."""
WEIGHT_FREE = "multi-scale distance (no network's weights)"
LEARNED = "LPIPS (VGG-16)"
SCALES = 4
"""Largest number of scales of the distance without weights."""


def multi_scale_distance(a: Float[Tensor, "B C H W"], b: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
    r"""Mean absolute difference of values and of slopes, at full size and at halves of it, of each pair.

    .. math:: \frac1S \sum_{s<S} \big\langle |d_s| \big\rangle
        + \big\langle |\partial_x d_s| \big\rangle + \big\langle |\partial_y d_s| \big\rangle

    with d_s the difference averaged over squares of 2^s pixels; scales below 4 pixels are left out. What a
    tokenizer is trained with where no weights are at hand; not LPIPS, and not comparable with it.

    Example:
        >>> multi_scale_distance(torch.ones(2, 1, 8, 8), torch.zeros(2, 1, 8, 8))
        tensor([1., 1.])
    """
    difference, terms = (a - b).float(), []
    while True:
        parts = difference, difference.diff(dim=2), difference.diff(dim=3)
        terms.append(sum(part.abs().flatten(1).mean(1) for part in parts))
        if len(terms) == SCALES or min(difference.shape[2:]) < 8:
            return torch.stack(terms).mean(0)
        difference = functional.avg_pool2d(difference, 2)


def perceptual_distance(vgg: str | Path | None) -> Distance:
    """LPIPS with VGG-16's weights from a local file; without one the weight-free distance."""
    return multi_scale_distance if vgg is None else LPIPS.load(vgg)


def name_of(distance: Distance) -> str:
    """The name of the distance in reports.

    Example:
        >>> name_of(multi_scale_distance)
        "multi-scale distance (no network's weights)"
    """
    return LEARNED if isinstance(distance, LPIPS) else WEIGHT_FREE
