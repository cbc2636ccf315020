"""Interpolation, pixel shuffle, padding: operations that change the size of a picture."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from caselli.anatomy.relation import (
    NOWHERE,
    UNIT,
    WHOLE,
    Along,
    Box,
    Line,
    Positions,
    Relation,
    Separable,
    is_empty,
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


def _antialiased(plain: Callable, reach: int) -> Callable[[int, int, int, Source], Along]:
    """A kernel of `reach` pixels to either side, widened by as much as the picture is made smaller."""

    def along(axis: int, size: int, out_size: int, source: Source) -> Along:
        if size <= out_size:
            return dataclasses.replace(plain(axis, size, out_size, source), border="zero")

        def table(outputs: np.ndarray) -> np.ndarray:
            # inputs i with |i + ½ − (o + ½)H/h| < reach · H/h, multiplied by 2h
            centre, half = (2 * outputs + 1) * size - out_size, 2 * reach * size
            return ranges((centre - half) // (2 * out_size) + 1, -(-(centre + half) // (2 * out_size)) - 1)

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


SCALES = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}
"""Number of axes → the arguments of PyTorch's operations that have the scale factor of each."""
MOST = 10**6
"""Largest denominator of a scale factor, which is a fraction."""


def _resize(operation: Operation, slot: int, kind: Callable, space: int) -> list[Dependency]:
    arguments = operation.arguments()
    x, out = arguments["self"], operation.outputs[slot].shape
    coordinate = corners if arguments.get("align_corners") else half_pixel
    lead = len(x.shape) - space
    axes = []
    for axis, name in zip(range(lead, len(x.shape)), SCALES[space], strict=True):
        sizes = x.shape[axis], out[axis]
        if arguments.get(name) and not arguments.get("align_corners"):  # it counts, not what was rounded
            ratio = 1 / Fraction(arguments[name]).limit_denominator(MOST)
            sizes = ratio.numerator, ratio.denominator
        axes.append(kind(axis, *sizes, coordinate(*sizes)))
    return [(x, Separable((*(Along(axis) for axis in range(lead)), *axes), x.shape, out))]


for (_name, _kind), _space in itertools.product(KINDS.items(), (1, 2, 3)):
    register_rule(f"{_name}{_space}d")(
        lambda operation, slot, kind=_kind, space=_space: _resize(operation, slot, kind, space)
    )
ANTIALIASED: dict[str, Callable[[int, int, int, Source], Along]] = {
    "_upsample_bilinear2d_aa": _antialiased(_linear, 1),
    "_upsample_bicubic2d_aa": _antialiased(_cubic, 2),
}
for _name, _kind in ANTIALIASED.items():
    register_rule(_name)(lambda operation, slot, kind=_kind: _resize(operation, slot, kind, 2))


@dataclasses.dataclass(frozen=True)
class _Shuffle:
    """out[c, hr + i, wr + j] = in[cr² + ir + j, h, w]: boxes of the deep picture ⟷ boxes of the large one."""

    factor: int
    deep: tuple[int, ...]
    large: tuple[int, ...]

    def to_deep(self, box: Box, clip: bool) -> list[Box]:
        r = self.factor
        rows, columns = (_listed(p, n) for p, n in zip(box[-2:], self.large[-2:], strict=True))
        phases = [
            (i * r + j, rows[rows % r == i] // r, columns[columns % r == j] // r)
            for i, j in itertools.product(range(r), range(r))
        ]
        if box[-3] is None and len({(h.tobytes(), w.tobytes()) for _, h, w in phases}) == 1:
            return _inside([(*box[:-3], None, *phases[0][1:])], self.deep, clip)
        channels = _listed(box[-3], self.large[-3]) * r * r
        return _inside([(*box[:-3], channels + phase, h, w) for phase, h, w in phases], self.deep, clip)

    def to_large(self, box: Box, clip: bool) -> list[Box]:
        r = self.factor
        rows, columns = (_listed(p, n) * r for p, n in zip(box[-2:], self.deep[-2:], strict=True))
        if box[-3] is None:
            spread = [np.unique(axis[:, None] + np.arange(r)) for axis in (rows, columns)]
            return _inside([(*box[:-3], None, *spread)], self.large, clip)
        channels = box[-3]
        boxes = [
            (*box[:-3], channels[channels % (r * r) == i * r + j] // (r * r), rows + i, columns + j)
            for i, j in itertools.product(range(r), range(r))
        ]
        return _inside(boxes, self.large, clip)

    def lines(self, line: Line) -> dict[int, tuple[int, Line | None]]:
        rank = len(self.deep)
        return {axis: (axis, line if axis >= rank - 2 else UNIT) for axis in range(rank) if axis != rank - 3}


@dataclasses.dataclass(frozen=True)
class Shuffled(Relation):
    """Pixel shuffle: channels of the input become pixels of the output."""

    shuffle: _Shuffle

    def see(self, box: Box, clip: bool) -> list[Box]:
        return self.shuffle.to_deep(box, clip)

    def touch(self, box: Box) -> list[Box]:
        return self.shuffle.to_large(box, True)

    def lines(self) -> dict[int, tuple[int, Line | None]]:
        return self.shuffle.lines(_line(half_pixel(1, self.shuffle.factor)))

    def table(self, axis: int, outputs: np.ndarray, rank: int) -> np.ndarray:
        return (outputs // self.shuffle.factor if axis >= rank - 2 else outputs)[:, None]


@dataclasses.dataclass(frozen=True)
class Unshuffled(Relation):
    """Pixel unshuffle: pixels of the input become channels of the output."""

    shuffle: _Shuffle

    def see(self, box: Box, clip: bool) -> list[Box]:
        return self.shuffle.to_large(box, clip)

    def touch(self, box: Box) -> list[Box]:
        return self.shuffle.to_deep(box, True)

    def lines(self) -> dict[int, tuple[int, Line | None]]:
        return self.shuffle.lines(_line(half_pixel(self.shuffle.factor, 1)))

    def table(self, axis: int, outputs: np.ndarray, rank: int) -> np.ndarray:
        if axis < rank - 2:
            return outputs[:, None]
        return outputs[:, None] * self.shuffle.factor + np.arange(self.shuffle.factor)


def _listed(positions: Positions, size: int) -> np.ndarray:
    return np.arange(size) if positions is None else positions


def _inside(boxes: list[Box], shape: tuple[int, ...], clip: bool) -> list[Box]:
    if clip:
        boxes = [
            tuple(p if p is None else p[(p >= 0) & (p < n)] for p, n in zip(box, shape, strict=True))
            for box in boxes
        ]
    return [box for box in boxes if not is_empty(box)]


@register_rule("pixel_shuffle")
def pixel_shuffle(operation: Operation, slot: int) -> list[Dependency]:
    x, factor = operation.args
    return [(x, Shuffled(_Shuffle(factor, x.shape, operation.outputs[slot].shape)))]


@register_rule("pixel_unshuffle")
def pixel_unshuffle(operation: Operation, slot: int) -> list[Dependency]:
    x, factor = operation.args
    return [(x, Unshuffled(_Shuffle(factor, operation.outputs[slot].shape, x.shape)))]


def _shifted(x: Value, out: tuple[int, ...], pads: list[int], border: str) -> Relation:
    """`pads` from the last axis: (before, after) pairs, negative ones crop."""
    rank = len(x.shape)
    befores = [pads[2 * (rank - 1 - axis)] if rank - 1 - axis < len(pads) // 2 else 0 for axis in range(rank)]
    changed = [size != made for size, made in zip(x.shape, out, strict=True)]
    axes = [
        shift(axis, -before, border) if before or changed[axis] else Along(axis)
        for axis, before in enumerate(befores)
    ]
    return Separable(tuple(axes), x.shape, out)


def shift(axis: int, offset: int, border: str = "zero", step: int = 1) -> Along:
    """Output o sees input o · step + offset."""
    return Along(axis, lambda o: (o * step + offset)[:, None], border, Line(Fraction(step), Fraction(offset)))


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
    """The data decide what is read, which may be anywhere; the positions themselves follow the output."""
    x, grid = operation.args[:2]
    out = operation.outputs[slot].shape
    space = len(x.shape) - 2
    positions = Separable((Along(0), *(Along(a + 2) for a in range(space)), WHOLE), grid.shape, out)
    sampled = Separable((Along(0), Along(1), *[WHOLE] * space), x.shape, out)
    return [(x, sampled), (grid, positions)]
