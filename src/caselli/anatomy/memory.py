"""Most bytes of activations that are alive at a time while a recorded module goes forward."""

from __future__ import annotations

from caselli.anatomy.tape import Tape, Value


def peak_bytes(tape: Tape) -> int:
    """Most bytes alive at a time: an activation lives from its making to its last reading, views with it."""
    last: dict[Value, int] = {}
    for number, operation in enumerate(tape.operations):
        for value in (*operation.inputs(), *operation.outputs):
            last[_root(value)] = number
    for value in tape.outputs:
        last[_root(value)] = len(tape.operations)
    dying: dict[int, int] = {}
    for value, number in last.items():
        dying[number] = dying.get(number, 0) + _living_bytes(value)
    alive = sum(_living_bytes(value) for value in tape.inputs if value in last)
    peak = alive
    for number, operation in enumerate(tape.operations):
        alive += sum(_living_bytes(value) for value in operation.outputs if _root(value) is value)
        peak = max(peak, alive)
        alive -= dying.get(number, 0)
    return peak


def _root(value: Value) -> Value:
    """The value whose memory it lives in: of a view its base, of an in-place operation what it wrote to."""
    while value.base is not None or (value.operation is not None and value.operation.in_place):
        value = value.base if value.base is not None else value.operation.inputs()[0]
    return value


def _living_bytes(value: Value) -> int:
    return 0 if value.data is not None else value.bytes
