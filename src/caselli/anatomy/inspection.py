"""Everything at once about a network: fields, costs and biases, layer by layer, as records and as a table."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
from torch import nn

from caselli.anatomy.biases import Bias, biases_of_tape
from caselli.anatomy.cost import LayerCost, MachineRates, NetworkCost, cost_of_tape
from caselli.anatomy.field import SPACE, Field, Misalignment
from caselli.anatomy.receptive_field import ReceptiveField
from caselli.anatomy.recording import record
from caselli.anatomy.tape import LayerCall, Value


@dataclasses.dataclass(frozen=True)
class LayerField:
    """One layer of an inspection."""

    path: str
    kind: str
    """The module's class."""
    output_shape: tuple[int, ...]
    """Without the batch."""
    size: tuple[int, ...]
    """Size of the middle output's field per axis; empty if the layer does not see the picture in space."""
    stride: tuple[Fraction | None, ...]
    padding: tuple[int | None, ...]
    whole: bool
    """True where it sees some axis of the picture whole by construction."""
    parameters: int
    macs: int


@dataclasses.dataclass(frozen=True)
class Inspection:
    """Fields, costs and biases of a network."""

    name: str
    input_shape: tuple[int, ...]
    layers: tuple[LayerField, ...]
    at: Field
    """The field of the middle position of the chosen layer."""
    spread: tuple[Field, ...]
    """The fields of its corners and its middle; the middle comes last."""
    sizes: tuple[Counter, ...]
    """Number of positions of that layer with a field of each size, per axis."""
    misalignments: tuple[Misalignment, ...]
    """Every place where unaligned branches meet."""
    cost: NetworkCost
    biases: tuple[Bias, ...]

    def table(self) -> str:
        """The layers and totals as text, one line a layer."""
        head = ("layer", "kind", "output", "field", "stride", "padding", "parameters", "MACs")
        rows = [head, *(_row(layer) for layer in self.layers)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = [_line(row, widths) for row in rows]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], "", *self.summary()])

    def summary(self) -> list[str]:
        """The totals, the field of the chosen layer, and what deserves attention, a line each."""
        counted = self.cost
        lines = [
            f"{self.name} on {_by(self.input_shape)}: {in_thousands(counted.parameters)} parameters, "
            f"{in_thousands(counted.macs)} MACs forward, {in_thousands(counted.backward_macs)} backward",
            f"memory: {in_bytes(counted.parameter_bytes)} parameters, {in_bytes(counted.peak_bytes)} "
            f"activations at most, {in_bytes(counted.saved_bytes)} kept for training; "
            f"{in_bytes(counted.bytes)} moved forward",
        ]
        return lines + self.notes()

    def notes(self) -> list[str]:
        """The field of the chosen layer, branches that meet unaligned, biases that do nothing or little."""
        lines = [_field_line(self.at, self.sizes)]
        lines += [
            f"branches meet unaligned at {m.place}, axis {m.axis}: "
            + ", ".join(f"stride {s:g} centre {c:g}" for s, c in m.lines)
            for m in self.misalignments
        ]
        idle = [bias for bias in self.biases if bias.effect.value != "needed"]
        lines += [
            f"bias {bias.name} is {bias.effect.value}"
            + (f" (removed by {', '.join(bias.removed_by)})" if bias.removed_by else "")
            for bias in idle
        ]
        return lines

    def floor(self, machine: MachineRates, training: bool = False) -> float:
        """Seconds that the machine needs at the very least."""
        return self.cost.floor(machine, training)


def inspect(
    module: nn.Module, input_shape: tuple[int, ...], at: str | None = None, *, count_statistics: bool = False
) -> Inspection:
    """Records a module once, and finds the fields, costs and biases of its layers.

    Arguments:
        module: any module of one input.
        input_shape: (C, *space) of one picture.
        at: the path of the layer whose field is looked at closely; unless given, the module's own output, or
            the last layer that still is a map if that is not one.
        count_statistics: count what the statistics of normalisations span.

    Example:
        >>> seen = inspect(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.ReLU()), (3, 8, 8))
        >>> print(seen.table().splitlines()[2])
        0      Conv2d  8x8x8   3x3    1       1               216  13.8k
    """
    tape = record(module, (1, *input_shape))
    fields = ReceptiveField.of_tape(tape, count_statistics)
    calls = _maps_last(fields, tape.calls)
    if at is None and len(tape.outputs[0].shape) <= SPACE and calls:
        at = calls[-1].path
    misalignments = dict.fromkeys(m for found in fields.follow(tape.inputs[0])[1].values() for m in found)
    return Inspection(
        type(module).__name__,
        tuple(input_shape),
        _layers(fields, cost_of_tape(tape).layers),
        fields.at(at),
        tuple(fields.at(at, position) for position in _spread(tape.value(at).shape[SPACE:])),
        fields.sizes(at),
        tuple(misalignments),
        cost_of_tape(tape),
        biases_of_tape(tape),
    )


def _spread(space: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The corners of a map, and its middle last.

    Example:
        >>> _spread((3, 1))
        [(0, 0), (2, 0), (1, 0)]
    """
    corners = itertools.product(*(sorted({0, size - 1}) for size in space))
    middle = tuple(size // 2 for size in space)
    return [*(corner for corner in corners if corner != middle), middle]


def _maps_last(fields: ReceptiveField, calls: tuple[LayerCall, ...]) -> list[LayerCall]:
    """The calls whose output still is a map with more than one position."""
    return [
        call
        for call in calls
        if call.is_leaf
        and call.outputs
        and len(call.outputs[0].shape) > SPACE
        and max(call.outputs[0].shape[SPACE:]) > 1
        and any(line for _, line in fields.follow(fields.tape.inputs[0])[0].get(call.outputs[0], {}).values())
    ]


def _layers(fields: ReceptiveField, costs: tuple[LayerCost, ...]) -> tuple[LayerField, ...]:
    origin = fields.tape.inputs[0]
    counted = {layer.path: layer for layer in costs}
    calls = [call for call in fields.tape.calls if call.is_leaf and call.outputs]
    known = fields.follow(origin)[0]
    wanted = {
        call.outputs[0]: _corner_and_middle(call.outputs[0]) for call in calls if call.outputs[0] in known
    }
    answers = fields.intervals(wanted, origin)
    # a layer that is called again has its costs at its first call
    return tuple(_layer(call, counted.pop(call.path, None), answers, known) for call in calls)


def _corner_and_middle(value: Value) -> list[np.ndarray]:
    return [np.array([0, size // 2]) for size in value.shape[SPACE:]]


def _layer(call: LayerCall, counted: LayerCost | None, answers: dict, known: dict) -> LayerField:
    value = call.outputs[0]
    lines = dict(known.get(value, {}).values())
    sizes, strides, paddings, whole = [], [], [], False
    for axis, (first, last, all_of_it) in enumerate(answers.get(value, []), SPACE):
        sizes.append(int(last[-1] - first[-1]) + 1)
        line = None if all_of_it else lines.get(axis)
        strides.append(line.stride if line else None)
        paddings.append(-int(first[0]) if line else None)
        whole |= all_of_it
    return LayerField(
        call.path,
        type(call.module).__name__,
        value.shape[1:],
        tuple(sizes),
        tuple(strides),
        tuple(paddings),
        whole,
        sum(p.numel() for p in call.module.parameters()),
        counted.macs if counted else 0,
    )


def _row(layer: LayerField) -> tuple[str, ...]:
    return (
        layer.path,
        layer.kind,
        _by(layer.output_shape),
        "whole" if layer.whole else _by(layer.size),
        _once(layer.stride),
        _once(layer.padding),
        in_thousands(layer.parameters) if layer.parameters else "",
        in_thousands(layer.macs) if layer.macs else "",
    )


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    cells = [
        cell.rjust(width) if column >= 6 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _by(numbers: tuple[int, ...]) -> str:
    return "x".join(map(str, numbers)) or "-"


def _once(numbers: tuple) -> str:
    """Equal numbers once, different ones with ×; "-" for none."""
    words = ["-" if number is None else str(number) for number in numbers]
    return "x".join(words if len(set(words)) > 1 else words[:1]) or "-"


def _field_line(field: Field, sizes: tuple[Counter, ...]) -> str:
    where = f"{field.layer or 'output'} at {_by(field.position)}"
    spans = ", ".join(
        "the whole axis"
        if axis.whole
        else f"{axis.first} to {axis.last} ({axis.size}, centre {axis.centre:g})"
        for axis in field.axes
    )
    varied = [sorted(counter) for counter in sizes if len(counter) > 1]
    note = f"; the size depends on the position: {varied[0]}" if varied else ""
    return f"{where} sees {spans or 'no picture'}{note}"


def in_thousands(number: float) -> str:
    """A number in thousands.

    Example:
        >>> in_thousands(216), in_thousands(13824), in_thousands(25_557_032)
        ('216', '13.8k', '25.6M')
    """
    for unit in ("", "k", "M", "G"):
        if abs(number) < 1000:
            return f"{number:.3g}{unit}" if unit else str(number)
        number /= 1000
    return f"{number:.3g}T"


def in_bytes(number: float) -> str:
    """Bytes in binary units.

    Example:
        >>> in_bytes(512), in_bytes(3 * 2**20)
        ('512 B', '3.0 MiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
