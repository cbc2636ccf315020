"""The interval rule for many positions of many layers at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from caselli.anatomy.relation import NOWHERE, Line, Relation
from caselli.anatomy.tape import Operation, Tape, Value

FAR = 1 << 40
"""Beginning of an empty field."""

Followed = dict[int, tuple[int, Line | None]]
"""Axis of a value → the axis of the origin that it follows, and the line of centres."""

Answer = tuple[np.ndarray, np.ndarray, bool]
"""First and last position seen, for each position asked about; whether it is the whole axis."""

Dependencies = Callable[[Operation, int], list[tuple[Value, Relation]]]


class Sweep:
    """The fields of positions along one axis of the origin.

    One sweep back collects the positions that each value is asked about, one sweep forward answers them.

    Arguments:
        tape: the recorded module.
        dependencies: operation and output's number → dependencies on its inputs.
        origin: the value that is looked at, and its `axis`.
        followed: which axes of each value follow which of the origin's.
    """

    def __init__(
        self,
        tape: Tape,
        dependencies: Dependencies,
        origin: Value,
        axis: int,
        followed: dict[Value, Followed],
    ) -> None:
        self.tape, self.dependencies, self.origin, self.axis = tape, dependencies, origin, axis
        self.followed = followed
        self.demands: dict[Value, np.ndarray] = {}
        self.tables: dict[tuple[Value, int], np.ndarray] = {}
        self.known: dict[Value, tuple[np.ndarray, np.ndarray]] = {}
        self.wholes: set[Value] = set()

    def axis_of(self, value: Value) -> int | None:
        """The axis of a value that follows the origin's; `None` if none does."""
        return next((own for own, (of, _) in self.followed.get(value, {}).items() if of == self.axis), None)

    def answer(self, asked: dict[Value, np.ndarray]) -> dict[Value, Answer]:
        """The fields of the positions asked about."""
        self.demands = {value: np.unique(positions) for value, positions in asked.items()}
        steps = [(o, slot, value) for o in self.tape.operations for slot, value in enumerate(o.outputs)]
        for operation, slot, value in reversed(steps):
            if value is not self.origin and value in self.demands:
                self._back(operation, slot, value)
        own = self.demands.get(self.origin, np.zeros(0, dtype=np.int64))
        self.known[self.origin] = own, own
        for operation, slot, value in steps:
            if value is not self.origin and value in self.demands:
                self._forward(operation, slot, value)
        return {value: self._pick(value, positions) for value, positions in asked.items()}

    def _links(self, operation: Operation, slot: int) -> list[tuple[int, Value, Relation, bool]]:
        """(number, input, relation, whether the axis is followed through it) for what sees the origin."""
        own = self.axis_of(operation.outputs[slot])
        links = []
        for number, (given, relation) in enumerate(self.dependencies(operation, slot)):
            if given in self.followed:
                through = relation.lines().get(own, (None,))[0] if own is not None else None
                links.append(
                    (number, given, relation, through is not None and through == self.axis_of(given))
                )
        return links

    def _back(self, operation: Operation, slot: int, value: Value) -> None:
        for number, given, relation, through in self._links(operation, slot):
            wanted = np.zeros(1, dtype=np.int64)
            if through:
                table = relation.table(self.axis_of(value), self.demands[value], len(value.shape))
                self.tables[value, number] = table
                wanted = table[table != NOWHERE]
            self.demands[given] = np.union1d(self.demands.get(given, wanted), wanted)

    def _forward(self, operation: Operation, slot: int, value: Value) -> None:
        first = np.full(len(self.demands[value]), FAR)
        last = -first
        for number, given, _, through in self._links(operation, slot):
            if given in self.wholes or not through:
                self.wholes.add(value)
            elif given in self.known and self.tables[value, number].size:
                table = self.tables[value, number]
                places = np.searchsorted(self.demands[given], table)
                places = places.clip(0, max(len(self.demands[given]) - 1, 0))
                if len(self.demands[given]):
                    near, far = (ends[places] for ends in self.known[given])
                    first = np.minimum(first, np.where(table == NOWHERE, FAR, near).min(1))
                    last = np.maximum(last, np.where(table == NOWHERE, -FAR, far).max(1))
        self.known[value] = first, last

    def _pick(self, value: Value, positions: np.ndarray) -> Answer:
        size = self.origin.shape[self.axis]
        nothing = np.zeros(len(positions), dtype=np.int64)
        if value in self.wholes:
            return nothing, nothing + size - 1, True
        if value not in self.known:
            return nothing, nothing - 1, False
        places = np.searchsorted(self.demands[value], positions)
        first, last = (ends[places] for ends in self.known[value])
        return np.where(first == FAR, 0, first), np.where(first == FAR, -1, last), False
