"""The biases of a network, and which of them are redundant.

A bias is redundant if a later layer removes whatever it adds. Batch normalisation removes any constant per
channel; group normalisation only with one channel a group, since it subtracts one mean for all channels of a
group; layer normalisation only the part that all channels share; softmax what is the same along its axis, so
the bias of attention's keys. Between the two there may only be layers that pass a constant on as a constant.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from caselli.anatomy.recording import record
from caselli.anatomy.shift import BATCH_NORMS, Axes, Effect, passage, removal
from caselli.anatomy.tape import Operation, Tape, Value
from caselli.shapes import Tensor


@dataclasses.dataclass(frozen=True)
class Bias:
    """A bias of a network."""

    name: str
    """The parameter's name."""
    elements: int
    effect: Effect
    removed_by: tuple[str, ...]
    """The layers that remove it, or part of it."""


def biases(
    module: nn.Module, input_shape: tuple[int, ...], *more_shapes: tuple[int, ...]
) -> tuple[Bias, ...]:
    """Every bias of a module, and its effect on the output.

    Arguments:
        module: any module; it is recorded, and not run on data.
        input_shape: (C, *space) of one picture; more shapes for a module of several inputs.

    Returns:
        One record for each parameter called "bias" (or "…_bias"), in order.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 1))
        >>> for bias in biases(network, (3, 8, 8)): print(bias.name, bias.effect.value, *bias.removed_by)
        0.bias redundant 1
        1.bias needed
        3.bias needed
    """
    return biases_of_tape(record(module, *((1, *shape) for shape in (input_shape, *more_shapes))))


def biases_of_tape(tape: Tape) -> tuple[Bias, ...]:
    """Every bias of a recorded module, and its effect."""
    return tuple(
        _judge(tape, name, value)
        for name, value in tape.parameters.items()
        if name.rsplit(".", 1)[-1].endswith("bias")
        and isinstance(_parameter(tape.module, name), nn.Parameter)
    )


def _parameter(module: nn.Module, name: str) -> Tensor | None:
    path, _, last = name.rpartition(".")
    return getattr(module.get_submodule(path), last)


class _Walk:
    """Follows what a bias adds through the tape, and notes where it ends."""

    def __init__(self, tape: Tape) -> None:
        self.outputs = set(tape.outputs)
        self.uses: dict[Value, list[Operation]] = {}
        for operation in tape.operations:
            for value in set(operation.inputs()):
                self.uses.setdefault(value, []).append(operation)
        self.ends: list[tuple[Effect, str]] = []
        self.seen: set[tuple[Value, Axes]] = set()

    def follow(self, value: Value, varies: Axes) -> None:
        if (value, varies) in self.seen:
            return
        self.seen.add((value, varies))
        if value in self.outputs:
            self.ends.append((Effect.NEEDED, ""))
        for operation in self.uses.get(value, []):
            self._through(operation, value, varies)

    def _through(self, operation: Operation, value: Value, varies: Axes) -> None:
        removed = removal(operation, value, varies)
        if removed is not None:
            self.ends.append((removed, operation.layer or operation.name))
            return
        for out, axes in passage(operation, value, varies):
            if axes is None:
                if self.uses.get(out) or out in self.outputs:
                    self.ends.append((Effect.NEEDED, operation.layer))
            else:
                self.follow(out, axes)


def _judge(tape: Tape, name: str, value: Value) -> Bias:
    walk = _Walk(tape)
    for operation in walk.uses.get(value, []):
        out = operation.outputs[0]
        if operation.name in ("convolution", "_convolution", "native_group_norm", *BATCH_NORMS):
            walk.follow(out, frozenset({1}))
        elif operation.name in ("addmm", "linear", "native_layer_norm"):
            walk.follow(out, frozenset({len(out.shape) - 1}))
        elif operation.name == "add":  # what torch makes of linear layers on some layouts
            shift = len(out.shape) - len(value.shape)
            walk.follow(out, frozenset(axis + shift for axis, size in enumerate(value.shape) if size > 1))
        else:
            walk.ends.append((Effect.NEEDED, operation.layer))
    effects = {effect for effect, _ in walk.ends}
    if not walk.ends:
        effect = Effect.UNUSED
    else:
        effect = next(e for e in (Effect.NEEDED, Effect.PARTLY, Effect.REDUNDANT) if e in effects)
    removers = () if effect is Effect.NEEDED else tuple(dict.fromkeys(place for _, place in walk.ends))
    return Bias(name, value.elements, effect, removers)
