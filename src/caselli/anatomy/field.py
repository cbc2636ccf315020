"""Receptive fields as records."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

SPACE = 2
"""Axes before this one are batch and channels."""


@dataclasses.dataclass(frozen=True)
class AxisField:
    """The receptive field of an output along one axis of the picture."""

    first: int
    """The first position seen in an unbounded picture; negative positions are padding."""
    last: int
    """The last position seen in an unbounded picture."""
    seen: tuple[int, ...]
    """Positions seen inside the picture, without the holes that dilation leaves."""
    picture: int
    """The picture's size."""
    whole: bool
    """True where the output sees all of the axis by construction (global pooling, attention)."""
    stride: Fraction | None
    """Input positions from one output to the next; `None` where they don't lie on a line."""
    padding: int | None
    """Number of positions before the picture that output 0 sees."""

    @property
    def size(self) -> int:
        """Width of the field: the picture's size if the output sees it whole, 0 if it sees nothing."""
        return self.last - self.first + 1

    @property
    def centre(self) -> float:
        """The middle of the field, in input positions."""
        return (self.first + self.last) / 2


@dataclasses.dataclass(frozen=True)
class Misalignment:
    """Branches that meet with different strides or centres: the result has no one centre."""

    place: str
    """Layer and operation at which they meet."""
    axis: int
    """The axis of the picture, 0 the first spatial one."""
    lines: tuple[tuple[float, float], ...]
    """(stride, centre of output 0) of each branch."""


@dataclasses.dataclass(frozen=True)
class Field:
    """The receptive field of one output position of a layer."""

    layer: str
    position: tuple[int, ...]
    """The output position, one number per spatial axis."""
    axes: tuple[AxisField, ...]
    misalignments: tuple[Misalignment, ...]
    """Places between picture and layer where unaligned branches meet."""

    @property
    def size(self) -> tuple[int, ...]:
        return tuple(axis.size for axis in self.axes)

    @property
    def stride(self) -> tuple[Fraction | None, ...]:
        return tuple(axis.stride for axis in self.axes)

    @property
    def padding(self) -> tuple[int | None, ...]:
        return tuple(axis.padding for axis in self.axes)
