"""Operations that move elements without changing them: views, permutations, slices, joins, look-ups."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np

from caselli.anatomy.relation import (
    NOWHERE,
    WHOLE,
    Along,
    Box,
    Fixed,
    Line,
    Regrouped,
    Relation,
    Separable,
    everything,
    is_empty,
    same,
)
from caselli.anatomy.rules.registry import RULES, Dependency, register_rule
from caselli.anatomy.rules.resizing import shift
from caselli.anatomy.tape import Operation, Value


@register_rule(
    "view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "flatten", "unflatten", "_reshape_alias"
)
def view(operation: Operation, slot: int) -> list[Dependency]:
    x, out = operation.args[0], operation.outputs[slot].shape
    return [(x, same(x.shape, out) if x.shape == out else Regrouped(x.shape, out))]


def _permuted(x: Value, out: tuple[int, ...], order: list[int]) -> Relation:
    """Output axis o is input axis `order[o]`."""
    axes = [Along(order.index(axis)) for axis in range(len(x.shape))]
    return Separable(tuple(axes), x.shape, out)


@register_rule("permute", "transpose", "t", "movedim", "swapaxes")
def permute(operation: Operation, slot: int) -> list[Dependency]:
    x, *rest = operation.args
    order = list(range(len(x.shape)))
    if operation.name == "permute":
        order = [axis % len(order) for axis in rest[0]]
    elif len(order) > 1:
        a, b = (axis % len(order) for axis in (rest if operation.name == "transpose" else (0, 1)))
        order[a], order[b] = order[b], order[a]
    return [(x, _permuted(x, operation.outputs[slot].shape, order))]


@register_rule("expand", "broadcast_to")
def expand(operation: Operation, slot: int) -> list[Dependency]:
    x = operation.args[0]
    return [(x, same(x.shape, operation.outputs[slot].shape))]


def _replace_axis(x: Value, out: tuple[int, ...], axis: int, rule: Along | Fixed) -> Relation:
    axes: list[Along | Fixed] = [Along(a) for a in range(len(x.shape))]
    axes[axis] = rule
    return Separable(tuple(axes), x.shape, out)


def _start(arguments: dict, size: int) -> int:
    start = arguments["start"] or 0
    return min(max(start + size if start < 0 else start, 0), size)


@register_rule("slice", "narrow")
def slice_(operation: Operation, slot: int) -> list[Dependency]:
    arguments = operation.arguments()
    x, axis = operation.args[0], arguments["dim"] % len(operation.args[0].shape)
    out, step = operation.outputs[slot].shape, arguments.get("step", 1)
    start = _start(arguments, x.shape[axis])
    rule = Along(axis) if out == x.shape and start == 0 else shift(axis, start, step=step)
    return [(x, _replace_axis(x, out, axis, rule))]


@register_rule("select")
def select(operation: Operation, slot: int) -> list[Dependency]:
    x, axis, index = operation.args
    axis, index = axis % len(x.shape), index % x.shape[axis]
    axes = [Along(a - (a > axis)) if a != axis else Fixed(np.array([index])) for a in range(len(x.shape))]
    return [(x, Separable(tuple(axes), x.shape, operation.outputs[slot].shape))]


@register_rule("split", "split_with_sizes", "chunk", "unsafe_split", "tensor_split")
def split(operation: Operation, slot: int) -> list[Dependency]:
    x = operation.args[0]
    axis = operation.arguments().get("dim", 0) % len(x.shape)
    start = sum(value.shape[axis] for value in operation.outputs[:slot])
    return [(x, _replace_axis(x, operation.outputs[slot].shape, axis, shift(axis, start)))]


@register_rule("unbind")
def unbind(operation: Operation, slot: int) -> list[Dependency]:
    x = operation.args[0]
    axis = operation.arguments()["dim"] % len(x.shape)
    axes = [Along(a - (a > axis)) if a != axis else Fixed(np.array([slot])) for a in range(len(x.shape))]
    return [(x, Separable(tuple(axes), x.shape, operation.outputs[slot].shape))]


def _piece(axis: int, start: int, size: int) -> Along:
    """Outputs start … start + size − 1 are this input's; others see nothing of it."""

    def table(outputs: np.ndarray) -> np.ndarray:
        places = outputs[:, None] - start
        return np.where((places >= 0) & (places < size), places, NOWHERE)

    return Along(axis, table, line=Line(Fraction(1), Fraction(-start)))


@register_rule("cat")
def cat(operation: Operation, slot: int) -> list[Dependency]:
    values = [value for value in operation.args[0] if value.shape != (0,)]
    out = operation.outputs[slot].shape
    axis = operation.arguments()["dim"] % len(out)
    found, start = [], 0
    for value in values:
        found.append((value, _replace_axis(value, out, axis, _piece(axis, start, value.shape[axis]))))
        start += value.shape[axis]
    return found


@dataclasses.dataclass(frozen=True)
class Stacked(Relation):
    """One of a stack's tensors: its axes are the output's without `axis`, where the output has `index`."""

    axis: int
    index: int

    def see(self, box: Box, clip: bool) -> list[Box]:
        chosen = box[self.axis]
        here = chosen is None or bool((chosen == self.index).any())
        return [(*box[: self.axis], *box[self.axis + 1 :])] if here else []

    def touch(self, box: Box) -> list[Box]:
        return [(*box[: self.axis], np.array([self.index]), *box[self.axis :])]


@register_rule("stack")
def stack(operation: Operation, slot: int) -> list[Dependency]:
    axis = operation.arguments()["dim"] % len(operation.outputs[slot].shape)
    return [(value, Stacked(axis, index)) for index, value in enumerate(operation.args[0])]


@register_rule("repeat", "tile")
def repeat(operation: Operation, slot: int) -> list[Dependency]:
    x, out = operation.args[0], operation.outputs[slot].shape
    lead = len(out) - len(x.shape)
    axes = tuple(
        Along(axis + lead, lambda o, size=size: (o % size)[:, None], line=None)
        for axis, size in enumerate(x.shape)
    )
    return [(x, Separable(axes, x.shape, out))]


@register_rule("flip")
def flip(operation: Operation, slot: int) -> list[Dependency]:
    x, flipped = operation.args
    rank = len(x.shape)
    turned = {axis % rank for axis in flipped}
    axes = tuple(
        shift(axis, size - 1, step=-1) if axis in turned else Along(axis) for axis, size in enumerate(x.shape)
    )
    return [(x, Separable(axes, x.shape, operation.outputs[slot].shape))]


@register_rule("roll")
def roll(operation: Operation, slot: int) -> list[Dependency]:
    arguments = operation.arguments()
    x, out = arguments["self"], operation.outputs[slot].shape
    if not arguments["dims"]:
        return [(x, everything(x.shape, out))]
    moves = {axis % len(out): by for axis, by in zip(arguments["dims"], arguments["shifts"], strict=True)}
    axes = tuple(
        shift(axis, -moves[axis], "wrap") if moves.get(axis) else Along(axis) for axis in range(len(out))
    )
    return [(x, Separable(axes, x.shape, out))]


def _picked(axis: int, index: np.ndarray, size: int) -> Along:
    """Output o sees input `index[o]`."""
    index = np.where(index < 0, index + size, index)

    def table(outputs: np.ndarray) -> np.ndarray:
        inside = (outputs >= 0) & (outputs < len(index))
        return np.where(inside, index[np.clip(outputs, 0, len(index) - 1)], NOWHERE)[:, None]

    return Along(axis, table, line=None)


@register_rule("index_select")
def index_select(operation: Operation, slot: int) -> list[Dependency]:
    x, axis, index = operation.args
    out, axis = operation.outputs[slot].shape, axis % len(x.shape)
    if index.depends:
        return [(x, _replace_axis(x, out, axis, WHOLE)), (index, everything(index.shape, out))]
    rule = _picked(axis, index.constant().cpu().numpy().ravel(), x.shape[axis])
    return [(x, _replace_axis(x, out, axis, rule))]


@register_rule("index")
def index(operation: Operation, slot: int) -> list[Dependency]:
    """One constant list of positions along one axis exactly; other forms see the indexed axes whole."""
    x, indices = operation.args
    out = operation.outputs[slot].shape
    used = [axis for axis, value in enumerate(indices) if value is not None]
    plain = len(used) == 1 and len(indices[used[0]].shape) == 1 and not indices[used[0]].depends
    if plain and indices[used[0]].dtype.is_signed:
        axis = used[0]
        rule = _picked(axis, indices[axis].constant().cpu().numpy(), x.shape[axis])
        return [(x, _replace_axis(x, out, axis, rule))]
    before = used[0]
    made = len(out) - (len(x.shape) - len(used))
    together = used == list(range(used[0], used[-1] + 1))
    axes = []
    for axis in range(len(x.shape)):
        if axis in used:
            axes.append(WHOLE)
        elif together:
            axes.append(Along(axis if axis < before else axis - len(used) + made))
        else:
            axes.append(Along(made + axis - sum(u < axis for u in used)))
    found: list[Dependency] = [(x, Separable(tuple(axes), x.shape, out))]
    return found + [(indices[axis], everything(indices[axis].shape, out)) for axis in used]


@register_rule("gather", "take_along_dim")
def gather(operation: Operation, slot: int) -> list[Dependency]:
    """The index decides what is read, so it may be anywhere along its axis."""
    x, axis, index = operation.args[:3]
    out = operation.outputs[slot].shape
    return [(x, _replace_axis(x, out, axis % len(x.shape), WHOLE)), (index, same(index.shape, out))]


@register_rule("scatter", "scatter_add", "index_add", "index_put", "index_copy", "scatter_reduce")
def scatter(operation: Operation, slot: int) -> list[Dependency]:
    """The index decides where is written: anywhere, but batch and channels in front of it stay in place."""
    out = operation.outputs[slot].shape
    base = operation.args[0]
    found: list[Dependency] = [(base, same(base.shape, out))] if base.shape == out else []
    return found + [
        (value, everything(value.shape, out))
        for value in operation.inputs()
        if found == [] or value is not base
    ]


@register_rule("embedding")
def embedding(operation: Operation, slot: int) -> list[Dependency]:
    weight, codes = operation.args[:2]
    out = operation.outputs[slot].shape
    places = Separable(tuple(Along(axis) for axis in range(len(codes.shape))), codes.shape, out)
    return [(codes, places), (weight, everything(weight.shape, out))]


@register_rule("tril", "triu")
def triangle(operation: Operation, slot: int) -> list[Dependency]:
    x = operation.args[0]
    return [(x, same(x.shape, x.shape))]


@register_rule("slice_scatter", "select_scatter", "diagonal", "as_strided", "diag_embed")
def unstructured(operation: Operation, slot: int) -> list[Dependency]:
    """Followed as seeing everything."""
    out = operation.outputs[slot].shape
    return [(value, everything(value.shape, out)) for value in operation.inputs()]


@dataclasses.dataclass(frozen=True)
class Written(Relation):
    """A write through views, as their base sees it."""

    relations: tuple[Relation, ...]
    """From each view to what it is a view of, the base first."""

    def see(self, box: Box, clip: bool) -> list[Box]:
        boxes = [box]
        for relation in self.relations:
            boxes = [touched for b in boxes for touched in relation.touch(b)]
        return boxes

    def touch(self, box: Box) -> list[Box]:
        boxes = [box]
        for relation in reversed(self.relations):
            boxes = [seen for b in boxes for seen in relation.see(b, True)]
        return boxes


@dataclasses.dataclass(frozen=True)
class Kept(Relation):
    """The part of a base that a write leaves: every place outside `written`."""

    written: tuple[Box, ...]
    shape: tuple[int, ...]

    def see(self, box: Box, clip: bool) -> list[Box]:
        boxes = [tuple(np.arange(n) if p is None else p for p, n in zip(box, self.shape, strict=True))]
        for hole in self.written:
            boxes = [part for b in boxes for part in _without(b, hole)]
        return boxes

    def touch(self, box: Box) -> list[Box]:
        return self.see(box, True)


def _without(box: Box, hole: Box) -> list[Box]:
    """Boxes that hold `box` without `hole`; they may overlap."""
    parts = [
        (*box[:axis], np.setdiff1d(positions, gone), *box[axis + 1 :])
        for axis, (positions, gone) in enumerate(zip(box, hole, strict=True))
        if gone is not None
    ]
    return [part for part in parts if not is_empty(part)]


@register_rule("overwrite")
def overwrite(operation: Operation, slot: int) -> list[Dependency]:
    before, written, views = operation.args
    place = Written(tuple(RULES[view.operation.name](view.operation, view.slot)[0][1] for view in views))
    holes = tuple(
        tuple(None if p is not None and len(p) == n else p for p, n in zip(hole, before.shape, strict=True))
        for hole in place.touch((None,) * len(written.shape))
    )
    return [(written, place), (before, Kept(holes, before.shape))]
