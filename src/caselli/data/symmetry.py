"""Left and right in a set of pictures: whether mirrored ones are as likely as they are."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from caselli.data.pictures import Pictures
from caselli.data.pixels import to_float
from caselli.data.shuffle import spread

LOOKED_AT = 4096
"""Pictures looked at, at most."""
SIDE = 8
"""Pixels a side that they are reduced to."""
FEWEST = 20
"""Fewer pictures of a class say nothing of it."""
CHANCE = 1.5
"""Asymmetry up to which left and right may well be alike; 1 is expected where they are."""


def asymmetry(pictures: Pictures) -> float:
    r"""Difference of a set's mean picture from its mirror image, in units of what chance gives.

    .. math:: \Big\langle \frac{n\, \bar a^2}{\operatorname{Var} a} \Big\rangle,
        \qquad a = x - \text{mirrored } x

    It is about 1 for photographs, whose mirror images are as likely as they are, and many times more for
    letters, or for shoes that point to the left. The mean goes over
    the pixels of pictures reduced to 8 × 8, and over classes where there are labels. Infinite for fewer than
    20 pictures.

    Example:
        >>> from caselli.data import open
        >>> asymmetry(open("digits")) > 10
        True
    """
    part = pictures.subset(spread(len(pictures), LOOKED_AT))
    small = [
        F.adaptive_avg_pool2d(to_float(part.read(batch)), SIDE)
        for batch in torch.arange(len(part)).split(512)
    ]
    x = torch.cat(small)
    gaps = (x - x.flip(3))[..., : SIDE // 2]
    labels = torch.zeros(len(x)) if part.labels is None else part.labels
    groups = [gaps[labels == label] for label in labels.unique()]
    found = [_against_chance(group) for group in groups if len(group) >= FEWEST]
    return sum(found) / len(found) if found else float("inf")


def mirrors_are_likely(pictures: Pictures) -> bool:
    """True where nothing tells the set's pictures from their mirror images, so that flips are no change.

    Example:
        >>> from caselli.data import open
        >>> mirrors_are_likely(open("digits"))
        False
    """
    return asymmetry(pictures) < CHANCE


def _against_chance(gaps: torch.Tensor) -> float:
    return (len(gaps) * gaps.mean(0).square() / gaps.var(0).clamp_min(1e-6)).mean().item()
