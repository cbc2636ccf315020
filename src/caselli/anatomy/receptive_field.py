"""Exact receptive fields of a network's outputs, per axis, from its structure alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
from torch import nn

from caselli.anatomy.field import SPACE, AxisField, Field, Misalignment
from caselli.anatomy.recording import record
from caselli.anatomy.relation import UNIT, Box, Line, Relation, union
from caselli.anatomy.rules import Dependency, dependencies
from caselli.anatomy.rules.pointwise import NORMALISATIONS, statistics
from caselli.anatomy.sweep import Answer, Followed, Sweep
from caselli.anatomy.tape import Operation, Tape, Value
from caselli.errors import UserError


class ReceptiveField:
    r"""The receptive fields of a module.

    Each operation says which inputs an output position uses, in whole numbers (a convolution
    :math:`os - p + dk`, a transposed one :math:`(o + p - dk)/s` where that is whole, linear interpolation
    :math:`\lfloor u \rfloor, \lfloor u \rfloor + 1` around :math:`u = (o + ½)H/h - ½`, …). Sets of positions
    are carried through the recorded graph from the output back, joined where branches meet. So the answer is
    exact for each position, also where upsampling makes it differ from one to the next.

    The statistics of normalisation layers are left out, the field's convention, unless `count_statistics`.

    Arguments:
        module: any module; it is recorded in evaluation mode, and not run on data.
        input_shape: (C, *space) of one picture, or several such shapes for a module of several inputs.
        count_statistics: count what the statistics of normalisations span.

    Source: Araujo, Norris and Sim, 2019, "Computing receptive fields of convolutional neural networks".

    Example:
        >>> fields = ReceptiveField(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3)), (3, 32, 32))
        >>> field = fields.at()
        >>> field.size, [int(s) for s in field.stride], [int(p) for p in field.padding]
        ((7, 7), [2, 2], [1, 1])
    """

    def __init__(
        self,
        module: nn.Module,
        input_shape: tuple[int, ...],
        *more_shapes: tuple[int, ...],
        count_statistics: bool = False,
    ) -> None:
        tape = record(module, *((1, *shape) for shape in (input_shape, *more_shapes)))
        self._start(tape, count_statistics)

    @classmethod
    def of_tape(cls, tape: Tape, count_statistics: bool = False) -> ReceptiveField:
        """The fields of a recorded module."""
        fields = cls.__new__(cls)
        fields._start(tape, count_statistics)
        return fields

    def _start(self, tape: Tape, count_statistics: bool) -> None:
        self.tape = tape
        self.count_statistics = count_statistics
        self._known: dict[tuple[Operation, int], list[Dependency]] = {}
        self._followed: dict[Value, tuple] = {}

    def at(
        self, layer: str | None = None, position: tuple[int, ...] | None = None, source: str | None = None
    ) -> Field:
        """The field of one position of a layer's output, in the picture or in another layer's output.

        Arguments:
            layer: path of a module ("layer4.2.conv3"); the module's own output unless given.
            position: the output position, one number per spatial axis; the middle unless given. It may lie
                outside: the field is that of a picture that goes on for ever.
            source: path of the layer in whose output the field lies; the picture unless given.
        """
        target, origin = self.tape.value(layer), self._origin(source)
        position = self._position(target, position)
        virtual = self._seen(target, position, origin, clip=False)
        inside = self._seen(target, position, origin, clip=True)
        known, misaligned = self.follow(origin)
        lines = {follows: (axis, line) for axis, (follows, line) in known.get(target, {}).items()}
        corner = {target: [np.zeros(1, dtype=np.int64)] * (len(target.shape) - SPACE)}
        swept = self.intervals(corner, origin)[target]
        axes = tuple(
            self._axis_field(origin, axis, virtual, inside, lines.get(axis), swept[axis - SPACE])
            for axis in range(SPACE, len(origin.shape))
        )
        return Field(layer or "", position, axes, tuple(misaligned.get(target, [])))

    def sizes(self, layer: str | None = None, source: str | None = None) -> tuple[Counter, ...]:
        """Number of output positions with a field of each size, per axis.

        Resizing makes the size depend on the position: a U-Net's outputs see one of two widths.
        """
        target, origin = self.tape.value(layer), self._origin(source)
        wanted = {target: [np.arange(size) for size in target.shape[SPACE:]]}
        answers = self.intervals(wanted, origin)[target]
        return tuple(Counter((last - first + 1).tolist()) for first, last, _ in answers)

    def intervals(self, wanted: dict[Value, list[np.ndarray]], origin: Value) -> dict[Value, list[Answer]]:
        """(first, last, whole) per axis of the origin, for many positions of many values at once.

        Arguments:
            wanted: positions along each spatial axis of the values asked about.
            origin: the value that is looked at.
        """
        followed = self.follow(origin)[0]
        answers: dict[Value, list[Answer]] = {value: [] for value in wanted}
        for axis in range(SPACE, len(origin.shape)):
            sweep = Sweep(self.tape, self._dependencies, origin, axis, followed)
            axes = {value: sweep.axis_of(value) for value in wanted}
            asked = {
                value: np.zeros(1, dtype=np.int64) if axes[value] is None else positions[axes[value] - SPACE]
                for value, positions in wanted.items()
            }
            for value, answer in sweep.answer(asked).items():
                answers[value].append(answer)
        return {value: self._confirmed(value, wanted[value], origin, answers[value]) for value in answers}

    def _confirmed(
        self, value: Value, positions: list[np.ndarray], origin: Value, answers: list[Answer]
    ) -> list[Answer]:
        """Axes that the sweep lost in a reshaping, and so took for whole, are walked position by position."""
        if not positions or not any(whole for _, _, whole in answers):
            return answers

        def walk(step: int) -> list[tuple[int, int]]:
            place = tuple(int(along[min(step, len(along) - 1)]) for along in positions)
            boxes = self._seen(value, place, origin, clip=False)
            return [_extent(boxes, axis, origin) for axis in range(SPACE, len(origin.shape))]

        count = max(len(along) for along in positions)
        sizes = origin.shape[SPACE:]
        lost = [
            whole and not (first <= 0 and last >= size - 1)
            for (_, _, whole), (first, last), size in zip(answers, walk(count // 2), sizes, strict=True)
        ]
        if not any(lost):
            return answers
        walked = np.array([walk(step) for step in range(count)]).transpose(1, 2, 0)
        return [
            (*ends, False) if gone else answer
            for gone, ends, answer in zip(lost, walked, answers, strict=True)
        ]

    def touched(
        self, position: tuple[int, ...], layer: str | None = None, source: str | None = None
    ) -> tuple[tuple[int, ...], ...]:
        """The positions of a layer's output that a position of the picture reaches: the field's inverse.

        Arguments:
            position: a position of the picture (of the output of `source`, if given), inside it.
            layer: path of a module; the module's own output unless given.

        Returns:
            For each spatial axis of the layer's output, the positions.
        """
        target, origin = self.tape.value(layer), self._origin(source)
        reached: dict[Value, list[Box]] = {origin: [_point(origin, position)]}
        for operation in self.tape.operations:
            for slot, value in enumerate(operation.outputs):
                if value is not origin and value.depends:
                    boxes: list[Box] = []
                    for given, relation in self._dependencies(operation, slot):
                        for box in reached.get(given, []):
                            boxes = union(boxes, relation.touch(box))
                    if boxes:
                        reached[value] = boxes
        boxes = reached.get(target, [])
        return tuple(
            tuple(_all_positions(boxes, axis, target).tolist()) for axis in range(SPACE, len(target.shape))
        )

    def _origin(self, source: str | None) -> Value:
        return self.tape.inputs[0] if source is None else self.tape.value(source)

    def _position(self, target: Value, position: tuple[int, ...] | None) -> tuple[int, ...]:
        space = target.shape[SPACE:]
        if position is None:
            return tuple(size // 2 for size in space)
        if len(position) != len(space):
            raise UserError(
                f"position {position} was given", f"{len(space)} numbers were expected, one per spatial axis"
            )
        return tuple(position)

    def _dependencies(self, operation: Operation, slot: int) -> list:
        key = (operation, slot)
        if key not in self._known:
            found = dependencies(operation, slot)
            if self.count_statistics and operation.name in NORMALISATIONS and slot == 0:
                spanned = statistics(operation)
                if spanned is not None and found:
                    found.append((found[0][0], spanned))
            self._known[key] = found
        return self._known[key]

    def _seen(self, target: Value, position: tuple[int, ...], origin: Value, clip: bool) -> list[Box]:
        """The boxes of `origin` that a position of `target` sees."""
        wanted: dict[Value, list[Box]] = {target: [_point(target, position)]}
        for operation in reversed(self.tape.operations):
            for slot, value in enumerate(operation.outputs):
                if value is origin or value not in wanted:
                    continue
                boxes = wanted.pop(value)
                for given, relation in self._dependencies(operation, slot):
                    for box in boxes:
                        wanted[given] = union(wanted.get(given, []), relation.see(box, clip))
        return wanted.get(origin, [])

    def follow(self, origin: Value) -> tuple[dict[Value, Followed], dict[Value, list[Misalignment]]]:
        """For every value, which axes follow which of the origin's, and how; and unaligned branches."""
        if origin in self._followed:
            return self._followed[origin]
        axes = range(SPACE, len(origin.shape))
        known: dict[Value, Followed] = {origin: {axis: (axis, UNIT) for axis in axes}}
        misaligned: dict[Value, list[Misalignment]] = {}
        for operation in self.tape.operations:
            for slot, value in enumerate(operation.outputs):
                given = [pair for pair in self._given(operation, slot, origin) if pair[0] in known]
                if not given:
                    continue
                merged: dict[int, list[tuple[int, Line | None]]] = {}
                for source, relation in given:
                    for axis, follows in _through(relation, known[source]).items():
                        merged.setdefault(axis, []).append(follows)
                known[value] = {axis: found[0] for axis, found in merged.items()}
                here = [_unaligned(operation, found) for found in merged.values()]
                before = [m for source, _ in given for m in misaligned.get(source, [])]
                misaligned[value] = list(dict.fromkeys([*before, *(m for m in here if m)]))
        self._followed[origin] = known, misaligned
        return known, misaligned

    def _given(self, operation: Operation, slot: int, origin: Value) -> list[Dependency]:
        value = operation.outputs[slot]
        return [] if value is origin or not value.depends else self._dependencies(operation, slot)

    def _axis_field(
        self,
        origin: Value,
        axis: int,
        virtual: list[Box],
        inside: list[Box],
        line: tuple[int, Line | None] | None,
        corner: Answer,
    ) -> AxisField:
        size, (first, last) = origin.shape[axis], _extent(virtual, axis, origin)
        whole = corner[2] and first <= 0 and last >= size - 1
        first, last = (0, size - 1) if whole else (first, last)
        stride = padding = None
        if line is not None and line[1] is not None and not whole:
            stride, padding = line[1].stride, -int(corner[0][0])
        seen = tuple(_all_positions(inside, axis, origin).tolist())
        return AxisField(first, last, seen, size, whole, stride, padding)


def _through(relation: Relation, known: Followed) -> Followed:
    """The axes that those of an output follow, if those of the input follow `known`."""
    found: Followed = {}
    for out_axis, (in_axis, line) in relation.lines().items():
        if in_axis in known:
            axis, outer = known[in_axis]
            found[out_axis] = axis, None if line is None or outer is None else outer.after(line)
    return found


def _unaligned(operation: Operation, found: list[tuple[int, Line | None]]) -> Misalignment | None:
    lines = list(dict.fromkeys(line for _, line in found if line is not None))
    if len(lines) < 2:
        return None
    numbers = tuple((float(line.stride), float(line.offset)) for line in lines)
    return Misalignment(operation.place, found[0][0] - SPACE, numbers)


def _point(value: Value, position: tuple[int, ...]) -> Box:
    """One position, every channel."""
    return (None,) * min(SPACE, len(value.shape)) + tuple(np.array([p]) for p in position)


def _all_positions(boxes: list[Box], axis: int, value: Value) -> np.ndarray:
    size = value.shape[axis]
    parts = [np.arange(size) if box[axis] is None else box[axis] for box in boxes]
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)


def _extent(boxes: list[Box], axis: int, value: Value) -> tuple[int, int]:
    positions = _all_positions(boxes, axis, value)
    return (int(positions[0]), int(positions[-1])) if len(positions) else (0, -1)
