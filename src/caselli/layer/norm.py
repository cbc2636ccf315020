"""Normalisations by name, as they follow a convolution."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from caselli.errors import lookup
from caselli.layer.block import group_norm

NORMS: dict[str, Callable[[int], list[nn.Module]]] = {
    "none": lambda width: [],
    "batch": lambda width: [nn.BatchNorm2d(width)],
    "group": lambda width: [group_norm(width)],
}
"""Normalisations by name: width → the layers, one or none."""


def normalised(convolution: nn.Conv2d, norm: str) -> list[nn.Module]:
    """A convolution and the normalisation that follows it.

    Example:
        >>> [type(layer).__name__ for layer in normalised(nn.Conv2d(3, 8, 3), "group")]
        ['Conv2d', 'GroupNorm']
    """
    return [convolution, *lookup(NORMS, "normalisation", norm)(convolution.out_channels)]
