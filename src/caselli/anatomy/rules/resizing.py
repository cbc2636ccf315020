"""Interpolation, pixel shuffle, padding: operations that change the size of a picture."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from caselli.anatomy.relation import (
    NOWHERE,
    WHOLE,
    Along,
    Box,
    Line,
    Relation,
    Separable,
    _is_empty,
    everything,
)
from caselli.anatomy.rules.registry import Dependency, register_rule
from caselli.anatomy.rules.windows import ranges
from caselli.anatomy.tape import Operation, Value

Source = tuple[int, int, int]
"""(a, b, c): the source coordinate (a·o + b) / c of output o, in whole numbers so that nothing is rounded."""


def half_pixel(size: int, out_size: int) -> Source:
    """(o + ½) H / h − ½."""
    return 2 * size, size - out_size, 2 * out_size


def corners(size: int, out_size: int) -> Source:
    """o (H − 1) / (h − 1): the corners of both pictures coincide."""
    return (size - 1, 0, out_size - 1) if out_size > 1 else (0, 0, 1)


def _line(source: Source) -> Line:
    a, b, c = source
    return Line(Fraction(a, c), Fraction(b, c))


def _nearest(axis: int, size: int, out_size: int, source: Source) -> Along:
    return Along(axis, lambda o: (o * size // out_size)[:, None], "clamp", _line(half_pixel(size, out_size)))


def _nearest_exact(axis: int, size: int, out_size: int, source: Source) -> Along:
    line = _line(half_pixel(size, out_size))
    return Along(axis, lambda o: ((2 * o + 1) * size // (2 * out_size))[:, None], "clamp", line)


def _taps(source: Source, before: int, after: int) -> Callable[[np.ndarray], np.ndarray]:
    """Inputs ⌊u⌋ − before … ⌊u⌋ + after around the coordinate u; u alone where it is a whole number."""
    a, b, c = source
    reach = np.arange(-before, after + 1)

    def table(outputs: np.ndarray) -> np.ndarray:
        numerator = a * outputs + b
        exact = (numerator % c == 0)[:, None] & (reach != 0)
        return np.where(exact, NOWHERE, (numerator // c)[:, None] + reach)

    return table


def _linear(axis: int, size: int, out_size: int, source: Source) -> Along:
    return Along(axis, _taps(source, 0, 1), "clamp", _line(source))


def _cubic(axis: int, size: int, out_size: int, source: Source) -> Along:
    return Along(axis, _taps(source, 1, 2), "clamp", _line(source))


def _antialiased(reach: int) -> Callable[[int, int, int, Source], Along]:
    """A triangle or cubic of `reach` pixels to either side, as much wider as the picture is made smaller."""

    def along(axis: int, size: int, out_size: int, source: Source) -> Along:
        # Inputs i with |i + ½ − (o + ½)H/h| < reach · max(H/h, 1), multiplied by 2h.
        half = 2 * reach * max(size, out_size)

        def table(outputs: np.ndarray) -> np.ndarray:
            centre = (2 * outputs + 1) * size - out_size
            return ranges((centre - half) // (2 * out_size) + 1, -((half - 1 - centre) // (2 * out_size)) - 1 + 1)

        return Along(axis, table, "zero", _line(half_pixel(size, out_size)))

    return along


KINDS: dict[str, Callable[[int, int, int, Source], Along]] = {
    "upsample_nearest": _nearest,
    "_upsample_nearest_exact": _nearest_exact,
    "upsample_linear": _linear,
    "upsample_bilinear": _linear,
    "upsample_trilinear": _linear,
    "upsample_bicubic": _cubic,
}


def _resize(operation: Operation, slot: int, kind: Callable, space: int) -> list[Dependency]:
    arguments = operation.arguments()
    x, out = arguments["self"], operation.outputs[slot].shape
    coordinate = corners if arguments.get("align_corners") else half_pixel
    lead = len(x.shape) - space
    axes = [
        kind(axis, x.shape[axis], out[axis], coordinate(x.shape[axis], out[axis]))
        for axis in range(lead, len(x.shape))
    ]
    return [(x, Separable((*(Along(axis) for axis in range(lead)), *axes), x.shape, out))]


for (_name, _kind), _space in itertools.product(KINDS.items(), (1, 2, 3)):
    register_rule(f"{_name}{_space}d")(
        lambda operation, slot, kind=_kind, space=_space: _resize(operation, slot, kind, space)
    )
for _name, _reach in (("_upsample_bilinear2d_aa", 1), ("_upsample_bicubic2d_aa", 2)):
    register_rule(_name)(
        lambda operation, slot, kind=_antialiased(_reach): _resize(operation, slot, kind, 2)
    )


@dataclasses.dataclass(frozen=True)
class Shuffled(Relation):
    """Pixel shuffle by r over the last two axes: out[c, hr + i, wr + j] = in[cr² + ir + j, h, w]."""

    factor: int
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]

    def _phases(self, box: Box, shape: tuple[int, ...]) -> list[tuple[int, int, np.ndarray, np.ndarray]]:
        rows, columns = (
            np.arange(n) if p is None else p for p, n in zip(box[-2:], shape[-2:], strict=True)
        )
        r = self.factor
        return [
            (i, j, rows[rows % r == i] // r, columns[columns % r == j] // r) for i in range(r) for j in range(r)
        ]

    def see(self, box: Box, clip: bool) -> list[Box]:
        return self.gather(box, self.out_shape, self.in_shape, clip)

    def gather(self, box: Box, shape: tuple[int, ...], target: tuple[int, ...], clip: bool) -> list[Box]:
        """Boxes of the larger picture → boxes of the one with more channels."""
        channels = np.arange(shape[-3]) if box[-3] is None else box[-3]
        r = self.factor
        everything = box[-3] is None
        phases = self._phases(box, shape)
        if everything and len({(rows.tobytes(), columns.tobytes()) for *_, rows, columns in phases}) == 1:
            phases_boxes = [(*box[:-3], None, *phases[0][2:])]
        else:
            phases_boxes = [(*box[:-3], channels * r * r + i * r + j, h, w) for i, j, h, w in phases]
        return _inside(phases_boxes, target, clip)

    def scatter(self, box: Box, shape: tuple[int, ...], target: tuple[int, ...], clip: bool) -> list[Box]:
        """Boxes of the picture with more channels → boxes of the larger one."""
        channels = np.arange(shape[-3]) if box[-3] is None else box[-3]
        r = self.factor
        rows, columns = (
            np.arange(n) if p is None else p for p, n in zip(box[-2:], shape[-2:], strict=True)
        )
        if box[-3] is None:
            full = [np.unique((axis[:, None] * r + np.arange(r)).ravel()) for axis in (rows, columns)]
            return _inside([(*box[:-3], None, *full)], target, clip)
        boxes = []
        for i, j in itertools.product(range(r), range(r)):
            chosen = channels[channels % (r * r) == i * r + j] // (r * r)
            boxes.append((*box[:-3], chosen, rows * r + i, columns * r + j))
        return _inside(boxes, target, clip)

    def touch(self, box: Box) -> list[Box]:
        return self.scatter(box, self.in_shape, self.out_shape, True)

    def lines(self) -> dict[int, tuple[int, Line | None]]:
        rank = len(self.in_shape)
        line = _line(half_pixel(1, self.factor))
        return {**{a: (a, Line(Fraction(1), Fraction(0))) for a in range(rank - 3)}} | {
            rank - 2: (rank - 2, line),
            rank - 1: (rank - 1, line),
        }


@dataclasses.dataclass(frozen=True)
class Unshuffled(Relation):
    """The inverse of `Shuffled`."""

    factor: int
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]

    def _inverse(self) -> Shuffled:
        return Shuffled(self.factor, self.out_shape, self.in_shape)

    def see(self, box: Box, clip: bool) -> list[Box]:
        return self._inverse().scatter(box, self.out_shape, self.in_shape, clip)

    def touch(self, box: Box) -> list[Box]:
        return self._inverse().gather(box, self.in_shape, self.out_shape, True)

    def lines(self) -> dict[int, tuple[int, Line | None]]:
        rank = len(self.in_shape)
        line = Line(Fraction(self.factor), Fraction(self.factor - 1, 2))
        return {rank - 2: (rank - 2, line), rank - 1: (rank - 1, line)}


def _inside(boxes: list[Box], shape: tuple[int, ...], clip: bool) -> list[Box]:
    if clip:
        boxes = [
            tuple(p if p is None else p[(p >= 0) & (p < n)] for p, n in zip(box, shape, strict=True))
            for box in boxes
        ]
    return [box for box in boxes if not _is_empty(box)]


@register_rule("pixel_shuffle")
def pixel_shuffle(operation: Operation, slot: int) -> list[Dependency]:
    x, factor = operation.args
    return [(x, Shuffled(factor, x.shape, operation.outputs[slot].shape))]


@register_rule("pixel_unshuffle")
def pixel_unshuffle(operation: Operation, slot: int) -> list[Dependency]:
    x, factor = operation.args
    return [(x, Unshuffled(factor, x.shape, operation.outputs[slot].shape))]


def _shifted(x: Value, out: tuple[int, ...], pads: list[int], border: str) -> Relation:
    """`pads` from the last axis: (before, after) pairs, negative ones crop."""
    axes = []
    for axis in range(len(x.shape)):
        from_last = 2 * (len(x.shape) - 1 - axis)
        before = pads[from_last] if from_last < len(pads) else 0
        changed = from_last < len(pads) and (before or pads[from_last + 1])
        axes.append(
            Along(axis, lambda o, before=before: (o - before)[:, None], border, Line(Fraction(1), Fraction(-before)))
            if changed
            else Along(axis)
        )
    return Separable(tuple(axes), x.shape, out)


@register_rule("constant_pad_nd")
def constant_pad(operation: Operation, slot: int) -> list[Dependency]:
    x, pads = operation.args[:2]
    return [(x, _shifted(x, operation.outputs[slot].shape, pads, "zero"))]


def _border_pad(border: str):
    def rule(operation: Operation, slot: int) -> list[Dependency]:
        x, pads = operation.args[:2]
        return [(x, _shifted(x, operation.outputs[slot].shape, pads, border))]

    return rule


register_rule(*(f"reflection_pad{n}d" for n in (1, 2, 3)))(_border_pad("reflect"))
register_rule(*(f"replication_pad{n}d" for n in (1, 2, 3)))(_border_pad("clamp"))


@register_rule("grid_sampler_2d", "grid_sampler_3d", "grid_sampler")
def grid_sample(operation: Operation, slot: int) -> list[Dependency]:
    """Where it reads depends on the data, so it may be anywhere; the positions themselves follow the output."""
    x, grid = operation.args[:2]
    out = operation.outputs[slot].shape
    space = len(x.shape) - 2
    positions = Separable((Along(0), *(Along(a + 2) for a in range(space)), WHOLE), grid.shape, out)
    sampled = Separable((Along(0), Along(1), *[WHOLE] * space), x.shape, out)
    return [(x, sampled), (grid, positions)]


__all__ = ["Shuffled", "Unshuffled", "everything"]
