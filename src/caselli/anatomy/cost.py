"""Costs of a network: parameters, operations, bytes, memory, and the least time on a machine.

Conventions, all of them named:

* one multiply-accumulate (MAC) is one multiplication and one addition: two FLOPs;
* only operations that multiply and sum are counted: convolutions, products of matrices, attention (the two
  products of softmax(q kᵀ) v), interpolation with weights; pooling and element-wise work is in the bytes;
* a transposed convolution has Π(weight) / groups MACs per *input* position: those are what it multiplies;
* bytes moved are those of every input read once and every output written once; views move none;
* the backward pass multiplies again once for each operand that needs a gradient: twice the forward pass for a
  layer in the middle, once for the first one (pictures need no gradient), nothing for frozen weights before
  any trained one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from torch import nn

from caselli.anatomy.counting import backward_macs, macs, moved
from caselli.anatomy.memory import peak_bytes
from caselli.anatomy.recording import record
from caselli.anatomy.tape import Operation, Tape
from caselli.errors import UserError


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """Costs of one layer, summed over its operations."""

    path: str
    """The module's path; "" for what the outermost module does itself."""
    kind: str
    """The module's class."""
    parameters: int
    macs: int
    backward_macs: int
    bytes: int
    output_shape: tuple[int, ...]
    activation_bytes: int
    """Bytes of its output."""


@dataclasses.dataclass(frozen=True)
class MachineRates:
    """The highest rates of a machine."""

    macs_per_second: float
    bytes_per_second: float
    name: str = "machine"

    def floor(self, operations: Iterable[tuple[int, int]]) -> float:
        r"""The least time for operations in seconds, each bound by arithmetic or by memory.

        .. math:: t = \sum_i \max\!\Big(\frac{\mathrm{MAC}_i}{R}, \frac{\mathrm{bytes}_i}{W}\Big)

        Arguments:
            operations: (MACs, bytes read and written) of each.
        """
        return sum(max(m / self.macs_per_second, b / self.bytes_per_second) for m, b in operations)


@dataclasses.dataclass(frozen=True)
class NetworkCost:
    """Costs of a network for inputs of a given shape."""

    layers: tuple[LayerCost, ...]
    operations: tuple[tuple[int, int, int], ...]
    """(MACs, MACs of the backward pass, bytes) of every operation, for the floor time."""
    parameters: int
    trained_parameters: int
    parameter_bytes: int
    peak_bytes: int
    """Most bytes of activations alive at a time while only going forward."""
    saved_bytes: int
    """Bytes of activations that training keeps for the backward pass."""

    @property
    def macs(self) -> int:
        return sum(m for m, _, _ in self.operations)

    @property
    def backward_macs(self) -> int:
        return sum(b for _, b, _ in self.operations)

    @property
    def bytes(self) -> int:
        return sum(b for _, _, b in self.operations)

    def floor(self, machine: MachineRates, training: bool = False) -> float:
        """The least time on a machine in seconds; a backward pass moves about twice the forward bytes."""
        return machine.floor(
            (forward + training * backward, byte * (1 + 2 * training))
            for forward, backward, byte in self.operations
        )

    def share(self, seconds: float, machine: MachineRates, training: bool = False) -> float:
        """The floor's share of a measured time: 1 is the machine's limit."""
        if seconds <= 0:
            raise UserError(f"{seconds} seconds were given", "a positive time was expected")
        return self.floor(machine, training) / seconds


def cost(
    module: nn.Module, input_shape: tuple[int, ...], *more_shapes: tuple[int, ...], batch: int = 1
) -> NetworkCost:
    """Counts the costs of a module, without running it.

    Arguments:
        module: any module.
        input_shape: (C, *space) of one picture; more shapes for a module of several inputs.
        batch: number of pictures at a time.

    Example:
        >>> counted = cost(nn.ConvTranspose2d(3, 1, 2, 2), (3, 2, 2))
        >>> counted.macs, counted.parameters
        (48, 13)
    """
    return cost_of_tape(record(module, *((batch, *shape) for shape in (input_shape, *more_shapes))))


def cost_of_tape(tape: Tape) -> NetworkCost:
    """Counts the costs of a recorded module."""
    parameters = {id(p): p for p in tape.module.parameters()}.values()
    return NetworkCost(
        layers=_layers(tape),
        operations=tuple((macs(o), backward_macs(o), moved(o)) for o in tape.operations),
        parameters=sum(p.numel() for p in parameters),
        trained_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        parameter_bytes=sum(p.numel() * p.element_size() for p in parameters),
        peak_bytes=peak_bytes(tape),
        saved_bytes=tape.saved_bytes,
    )


def _layers(tape: Tape) -> tuple[LayerCost, ...]:
    by_layer: dict[str, list[Operation]] = {}
    for operation in tape.operations:
        by_layer.setdefault(operation.layer, []).append(operation)
    modules = dict(tape.module.named_modules())
    found = []
    for path, operations in by_layer.items():
        module = modules[path]
        output = operations[-1].outputs[0] if operations[-1].outputs else None
        found.append(
            LayerCost(
                path,
                type(module).__name__,
                sum(p.numel() for p in module.parameters(recurse=False)),
                sum(map(macs, operations)),
                sum(map(backward_macs, operations)),
                sum(map(moved, operations)),
                output.shape if output else (),
                output.bytes if output else 0,
            )
        )
    return tuple(found)
