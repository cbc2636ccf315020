"""Relations between the elements of an operation's output and those of its input that they depend on.

A set of elements is a list of boxes: each the product of one set of positions per axis. A relation carries
boxes from the output to the input (what does this see?) and from the input to the output (what does this
touch?).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np

Positions = np.ndarray | None
"""Sorted positions along an axis, which may lie outside the tensor; `None` is every position inside."""

Box = tuple[Positions, ...]

NOWHERE = -(1 << 40)
"""In tables of taps: no tap."""

MAX_BOXES = 48
"""Beyond this many boxes their common hull stands for them; per axis that hull is almost always exact."""


class Line(NamedTuple):
    """The centre of what output o sees: `offset + stride · o`, in input positions."""

    stride: Fraction
    offset: Fraction

    def after(self, inner: Line) -> Line:
        """The line through two layers: `inner` is the one nearer the output."""
        return Line(self.stride * inner.stride, self.offset + self.stride * inner.offset)


UNIT = Line(Fraction(1), Fraction(0))


def _within(positions: np.ndarray, size: int, border: str) -> np.ndarray:
    """Positions read for those outside the tensor: none, the edge, mirrored ones, or the other side's."""
    if border == "clamp":
        return np.clip(positions, 0, size - 1)
    if border == "wrap":
        return positions % size
    if border == "reflect":
        mirrored = np.abs(positions)
        return np.where(mirrored >= size, 2 * (size - 1) - mirrored, mirrored)
    return positions[(positions >= 0) & (positions < size)]


@dataclasses.dataclass(frozen=True)
class Along:
    """An input axis whose positions follow from one axis of the output."""

    axis: int
    """The output's axis."""
    taps: Callable[[np.ndarray], np.ndarray] | None = None
    """n outputs → n × k inputs, unbounded, `NOWHERE` for no tap; `None` for the same position."""
    border: str = "zero"
    """Reading of positions outside the tensor: "zero", "clamp", "reflect" or "wrap"."""
    line: Line | None = UNIT
    """The centres, where they lie on a line."""

    def table(self, outputs: np.ndarray) -> np.ndarray:
        return outputs[:, None] if self.taps is None else self.taps(outputs)

    def see(self, positions: Positions, sizes: tuple[int, int], clip: bool) -> Positions:
        """Input positions that output `positions` see; `sizes` are the axis' sizes in and out."""
        if positions is None:
            if self.taps is None and sizes[0] == sizes[1]:
                return None
            positions = np.arange(sizes[1])
        seen = self.table(positions).ravel()
        seen = seen[seen != NOWHERE]
        return np.unique(_within(seen, sizes[0], self.border) if clip else seen)

    def touch(self, positions: Positions, sizes: tuple[int, int]) -> Positions:
        """Output positions that see one of the input `positions`."""
        if positions is None:
            if self.taps is None and sizes[0] == sizes[1]:
                return None
            positions = np.arange(sizes[0])
        table = self.table(np.arange(sizes[1]))
        if self.border != "zero":
            table = np.where(table == NOWHERE, NOWHERE, _within(table, sizes[0], self.border))
        return np.flatnonzero(np.isin(table, positions).any(1))


@dataclasses.dataclass(frozen=True)
class Fixed:
    """An input axis of which every output sees the same `positions`, all of them unless given."""

    positions: Positions = None


WHOLE = Fixed()


class Relation(ABC):
    """The dependency of an output's elements on one input."""

    @abstractmethod
    def see(self, box: Box, clip: bool) -> list[Box]:
        """The input's boxes; clipped to the input with `clip`, of a tensor continued for ever without."""

    @abstractmethod
    def touch(self, box: Box) -> list[Box]:
        """The output's boxes that a box of the input reaches."""

    def lines(self) -> dict[int, tuple[int, Line | None]]:
        """For each output axis that follows an input axis: that axis, and the line of centres."""
        return {}

    def table(self, axis: int, outputs: np.ndarray, rank: int) -> np.ndarray:
        """n × k positions of the followed input axis that n positions of an output axis see, unbounded."""
        followed = self.lines()[axis][0]
        rows = []
        for output in outputs:
            box: list[Positions] = [None] * rank
            box[axis] = np.array([output])
            parts = [seen[followed] for seen in self.see(tuple(box), False)]
            rows.append(np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64))
        width = max((len(row) for row in rows), default=0)
        return np.array([np.pad(row, (0, width - len(row)), constant_values=NOWHERE) for row in rows])


def is_empty(box: Box) -> bool:
    """True where some axis has no positions."""
    return any(positions is not None and len(positions) == 0 for positions in box)


@dataclasses.dataclass(frozen=True)
class Separable(Relation):
    """Each axis of the input follows one axis of the output, or none."""

    axes: tuple[Along | Fixed, ...]
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]

    def see(self, box: Box, clip: bool) -> list[Box]:
        seen = tuple(
            rule.see(box[rule.axis], (size, self.out_shape[rule.axis]), clip)
            if isinstance(rule, Along)
            else rule.positions
            for rule, size in zip(self.axes, self.in_shape, strict=True)
        )
        return [] if is_empty(seen) else [seen]

    def touch(self, box: Box) -> list[Box]:
        touched: list[Positions] = [None] * len(self.out_shape)
        for rule, positions, size in zip(self.axes, box, self.in_shape, strict=True):
            if isinstance(rule, Along):
                reached = rule.touch(positions, (size, self.out_shape[rule.axis]))
                touched[rule.axis] = _common(touched[rule.axis], reached)
            elif not _meet(rule.positions, positions):
                return []
        return [] if is_empty(tuple(touched)) else [tuple(touched)]

    def lines(self) -> dict[int, tuple[int, Line | None]]:
        return {
            rule.axis: (axis, rule.line) for axis, rule in enumerate(self.axes) if isinstance(rule, Along)
        }

    def table(self, axis: int, outputs: np.ndarray, rank: int) -> np.ndarray:
        return self.axes[self.lines()[axis][0]].table(outputs)


def _common(a: Positions, b: Positions) -> Positions:
    if a is None or b is None:
        return b if a is None else a
    return np.intersect1d(a, b)


def _meet(a: Positions, b: Positions) -> bool:
    return a is None or b is None or bool(np.isin(a, b).any())


def same(shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Separable:
    """Element by element, with broadcasting: axes are matched from the last."""
    shift = len(out_shape) - len(shape)
    axes = tuple(
        Along(axis + shift) if size == out_shape[axis + shift] else WHOLE for axis, size in enumerate(shape)
    )
    return Separable(axes, shape, out_shape)


def everything(shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Separable:
    """Every output sees every input."""
    return Separable((WHOLE,) * len(shape), shape, out_shape)


@dataclasses.dataclass(frozen=True)
class Regrouped(Relation):
    """A view: all elements in their order, in another shape."""

    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]

    def blocks(self) -> list[tuple[list[int], list[int]]]:
        """The finest division into runs of axes of equal product: (input axes, output axes).

        Axes of size 1 hold no choice, and stand alone.
        """
        blocks = [([axis], []) for axis, size in enumerate(self.in_shape) if size == 1]
        blocks += [([], [axis]) for axis, size in enumerate(self.out_shape) if size == 1]
        ins = [axis for axis, size in enumerate(self.in_shape) if size != 1]
        outs = [axis for axis, size in enumerate(self.out_shape) if size != 1]
        while ins:
            left, right = [ins.pop(0)], [outs.pop(0)]
            while (a := _product(self.in_shape, left)) != (b := _product(self.out_shape, right)):
                (left if a < b else right).append((ins if a < b else outs).pop(0))
            blocks.append((left, right))
        return blocks

    def _carry(
        self, box: Box, shapes: tuple, blocks: list[tuple[list[int], list[int]]], clip: bool
    ) -> list[Box]:
        parts: list[list[tuple[list[int], Box]]] = []
        for sources, targets in blocks:
            given = tuple(box[axis] for axis in sources)
            sizes = tuple(
                tuple(shape[a] for a in axes) for shape, axes in zip(shapes, (sources, targets), strict=True)
            )
            if len(sources) == len(targets) == 1:
                inside = given[0]
                if clip and inside is not None:
                    inside = inside[(inside >= 0) & (inside < sizes[0][0])]
                found = [(inside,)]
            elif all(positions is None for positions in given):
                found = [(None,) * len(targets)]
            else:
                found = _regroup(given, *sizes)
            parts.append([(targets, part) for part in found])
        boxes: list[Box] = []
        for combination in itertools.product(*parts):
            result: list[Positions] = [None] * len(shapes[1])
            for axes, part in combination:
                for axis, positions in zip(axes, part, strict=True):
                    result[axis] = positions
            if not is_empty(tuple(result)):
                boxes.append(tuple(result))
        return boxes

    def see(self, box: Box, clip: bool) -> list[Box]:
        blocks = [(outs, ins) for ins, outs in self.blocks()]
        return self._carry(box, (self.out_shape, self.in_shape), blocks, clip)

    def touch(self, box: Box) -> list[Box]:
        return self._carry(box, (self.in_shape, self.out_shape), self.blocks(), True)

    def lines(self) -> dict[int, tuple[int, Line | None]]:
        return {outs[0]: (ins[0], UNIT) for ins, outs in self.blocks() if len(ins) == len(outs) == 1}

    def table(self, axis: int, outputs: np.ndarray, rank: int) -> np.ndarray:
        return outputs[:, None]


@dataclasses.dataclass(frozen=True)
class Chain(Relation):
    """One relation after another, the one nearest the input first."""

    relations: tuple[Relation, ...]

    def see(self, box: Box, clip: bool) -> list[Box]:
        boxes = [box]
        for relation in reversed(self.relations):
            boxes = [seen for b in boxes for seen in relation.see(b, clip)]
        return boxes

    def touch(self, box: Box) -> list[Box]:
        boxes = [box]
        for relation in self.relations:
            boxes = [touched for b in boxes for touched in relation.touch(b)]
        return boxes


def _product(shape: tuple[int, ...], axes: list[int]) -> int:
    return math.prod(shape[axis] for axis in axes)


def _regroup(given: Box, sizes: tuple[int, ...], target: tuple[int, ...]) -> list[Box]:
    """Boxes of a block of axes, for the same elements in a block of other axes."""
    inside = [
        np.arange(n) if positions is None else positions[(positions >= 0) & (positions < n)]
        for positions, n in zip(given, sizes, strict=True)
    ]
    flat = np.zeros(1, dtype=np.int64)
    for positions, size in zip(inside, sizes, strict=True):
        flat = (flat[:, None] * size + positions).ravel()
    return _boxes_of(np.unique(flat), target)


def _boxes_of(flat: np.ndarray, shape: tuple[int, ...]) -> list[Box]:
    """Boxes that hold exactly the elements of the given flat numbers."""
    if len(shape) == 0:
        return [()] if len(flat) else []
    if len(shape) == 1:
        return [(flat,)]
    inner = math.prod(shape[1:])
    rows: dict[bytes, tuple[list[int], np.ndarray]] = {}
    for row in np.unique(flat // inner):
        rest = flat[flat // inner == row] - row * inner
        rows.setdefault(rest.tobytes(), ([], rest))[0].append(int(row))
    boxes = [
        (np.array(numbers), *box) for numbers, rest in rows.values() for box in _boxes_of(rest, shape[1:])
    ]
    return [hull(boxes)] if len(boxes) > MAX_BOXES else boxes


def hull(boxes: list[Box]) -> Box:
    """The smallest box around boxes."""
    return tuple(
        None if any(p is None for p in parts) else np.unique(np.concatenate(parts))
        for parts in zip(*boxes, strict=True)
    )


def _holds(outer: Positions, inner: Positions) -> bool:
    if outer is None or inner is None:
        return outer is None
    if len(inner) > len(outer) or inner[0] < outer[0] or inner[-1] > outer[-1]:
        return False
    if outer[-1] - outer[0] + 1 == len(outer):
        return True
    return bool(np.isin(inner, outer, assume_unique=True).all())


def _covers(outer: Box, inner: Box) -> bool:
    return all(_holds(a, b) for a, b in zip(outer, inner, strict=True))


def union(boxes: list[Box], more: list[Box]) -> list[Box]:
    """Boxes that hold both; those within others are left out."""
    boxes = list(boxes)
    for box in more:
        if any(_covers(held, box) for held in boxes):
            continue
        boxes = [held for held in boxes if not _covers(box, held)]
        boxes.append(box)
    return [hull(boxes)] if len(boxes) > MAX_BOXES else boxes
