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
import math
from collections.abc import Callable, Iterable

from torch import nn
from torch.utils.flop_counter import flop_registry

from caselli.anatomy.products import multiplies_nothing
from caselli.anatomy.recording import record
from caselli.anatomy.tape import Operation, Tape, Value
from caselli.errors import UserError
from caselli.private import tree_map


def _linear(operation: Operation) -> int:
    x, weight = operation.inputs()[:2]
    return x.elements * weight.shape[0]


def _product(operation: Operation) -> int:
    a, b = operation.inputs()
    return a.elements * b.shape[1]


def _vector(operation: Operation) -> int:
    return max(value.elements for value in operation.inputs())


def _attention(operation: Operation) -> int:
    query, key, value = operation.inputs()[:3]
    scores = math.prod(query.shape[:-1]) * key.shape[-2]
    return scores * (query.shape[-1] + value.shape[-1])


def _recurrent(operation: Operation) -> int:
    """Every step multiplies its input, and its state, by a matrix."""
    x, into, again = operation.inputs()[:3]
    return math.prod(x.shape[:-1]) * (into.elements + again.elements)


def _trilinear(operation: Operation) -> int:
    x, weight = operation.inputs()[:2]
    return x.shape[0] * weight.elements


def _batches(operation: Operation) -> int:
    a, b = operation.inputs()[-2:]
    return a.elements * b.shape[2]


def _distances(operation: Operation) -> int:
    return operation.outputs[0].elements * operation.inputs()[0].shape[-1]


def _affine_grid(operation: Operation) -> int:
    """A number of a position for each of its axes, and one more."""
    grid = operation.outputs[0]
    return grid.elements * (grid.shape[-1] + 1)


def _triangular(operation: Operation) -> int:
    """Half of the products with the whole matrix."""
    return operation.outputs[0].elements * operation.inputs()[0].shape[-1] // 2


def _fourier(operation: Operation) -> int:
    """5 n log₂ n FLOPs for n numbers, as is usual."""
    value = max((operation.inputs()[0], operation.outputs[0]), key=lambda value: value.elements)
    length = math.prod(value.shape[axis] for axis in operation.args[1])
    return round(2.5 * value.elements * math.log2(length))


def _outer(operation: Operation) -> int:
    return operation.outputs[0].elements


def _time_convolution(operation: Operation) -> int:
    width, channels, _ = operation.inputs()[1].shape
    return operation.outputs[0].elements * width * channels


def _weighted_bag(operation: Operation) -> int:
    """A bag of embeddings multiplies where its samples have weights of their own."""
    weight, indices, _, *more = operation.inputs()
    return indices.elements * weight.shape[1] if more else 0


def _interpolation(taps: int) -> Callable[[Operation], int]:
    return lambda operation: operation.outputs[0].elements * taps


def _sampled(*taps: int) -> Callable[[Operation], int]:
    """By the number of a grid's mode: bilinear, nearest, bicubic."""
    return lambda operation: operation.outputs[0].elements * taps[operation.args[2]]


def _antialiased(radius: int) -> Callable[[Operation], int]:
    """Rows first, then columns; where it makes smaller, the filter is as many times wider."""

    def count(operation: Operation) -> int:
        before, after = operation.inputs()[0], operation.outputs[0]
        (high, wide), (low, narrow) = before.shape[-2:], after.shape[-2:]
        taps = [math.ceil(2 * radius * max(1, a / b)) for a, b in ((wide, narrow), (high, low))]
        maps = math.prod(before.shape[:-2])
        return maps * (high * narrow * taps[0] + low * narrow * taps[1])

    return count


MACS: dict[str, Callable[[Operation], int]] = {
    **dict.fromkeys(("mv", "dot", "vdot", "addmv"), _vector),
    **dict.fromkeys(("addr", "outer", "ger"), _outer),
    **dict.fromkeys(("linear", "_linear_pointwise"), _linear),
    "mkldnn_rnn_layer": _recurrent,
    "_trilinear": _trilinear,
    "addbmm": _batches,
    **dict.fromkeys(("_cdist_forward", "_euclidean_dist"), _distances),
    "affine_grid_generator": _affine_grid,
    **dict.fromkeys(("_fft_c2c", "_fft_r2c", "_fft_c2r"), _fourier),
    "linalg_solve_triangular": _triangular,
    "conv_tbc": _time_convolution,
    **dict.fromkeys(("_embedding_bag", "_embedding_bag_forward_only"), _weighted_bag),
    "_int_mm": _product,
    **dict.fromkeys(
        ("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_attention_math"), _attention
    ),
    "upsample_linear1d": _interpolation(2),
    "upsample_bilinear2d": _interpolation(4),
    "upsample_trilinear3d": _interpolation(8),
    "upsample_bicubic2d": _interpolation(16),
    "_upsample_bilinear2d_aa": _antialiased(1),
    "_upsample_bicubic2d_aa": _antialiased(2),
    "_upsample_lanczos2d_aa": _antialiased(3),
    "grid_sampler_2d": _sampled(4, 0, 16),
    "grid_sampler_3d": _sampled(8, 0),
}
"""Name of an operation → its multiply-accumulates, for what torch's own table of FLOPs leaves out."""

OPERANDS = {
    **dict.fromkeys(("convolution", "linear", "conv_tbc", "linalg_solve_triangular"), slice(0, 2)),
    **dict.fromkeys((*(name for name in MACS if "upsample" in name or "grid" in name),), slice(0, 1)),
    **dict.fromkeys(("_fft_c2c", "_fft_r2c", "_fft_c2r"), slice(0, 1)),
    "_trilinear": slice(0, 3),
}
"""Operands that products are made of, among the inputs of an operation; of others the last two."""
FREE = {"detach", "alias", "empty", "new_empty", "empty_like", "arange", "overwrite", "lift_fresh"}
"""Operations that move no bytes; views are free too."""


def macs(operation: Operation) -> int:
    """Multiply-accumulates of one operation."""
    if operation.name in MACS:
        return MACS[operation.name](operation)
    flops = operation.function and flop_registry.get(operation.function.overloadpacket)
    if not flops:
        if operation.function is None or multiplies_nothing(operation.function):
            return 0
        raise UserError(
            f"{operation.place} may multiply and sum, and nobody has said how often",
            "operations that are counted, or known to multiply nothing, were expected",
        )
    shapes = (operation.args, operation.kwargs, operation.outputs)
    args, kwargs, out = tree_map(lambda x: x.shape if isinstance(x, Value) else x, shapes)
    return flops(*args, **kwargs, out_val=out[0] if len(out) == 1 else out) // 2


def backward_macs(operation: Operation) -> int:
    """Multiply-accumulates of its backward pass: as many again for each operand that needs a gradient."""
    forward = macs(operation)
    if not forward:
        return 0
    if operation.name.startswith("_scaled_dot"):
        return 2 * forward if any(v.needs_gradient for v in operation.inputs()[:3]) else 0
    if operation.name == "mkldnn_rnn_layer":
        return _recurrent_backward(operation)
    operands = operation.inputs()[OPERANDS.get(operation.name, slice(-2, None))]
    return forward * sum(value.needs_gradient for value in operands)


def _recurrent_backward(operation: Operation) -> int:
    """The state needs a gradient at every step, the input and the weights where somebody asks for it."""
    x, into, again = operation.inputs()[:3]
    steps = math.prod(x.shape[:-1])
    return steps * (
        into.elements * (x.needs_gradient + into.needs_gradient)
        + again.elements * ((x.needs_gradient or into.needs_gradient) + again.needs_gradient)
    )


def moved(operation: Operation) -> int:
    """Bytes read and written by one operation."""
    if operation.name in FREE or (operation.function is not None and operation.function.is_view):
        return 0
    values: Iterable[Value] = {*operation.inputs(), *operation.outputs}
    return sum(value.bytes for value in values)


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
        r"""The least time on a machine in seconds, each operation bound by arithmetic or by memory.

        .. math:: t = \sum_i \max\!\Big(\frac{\mathrm{MAC}_i}{R}, \frac{\mathrm{bytes}_i}{W}\Big)

        A backward pass moves about twice the bytes of the forward pass.
        """
        return sum(
            max(
                (forward + training * backward) / machine.macs_per_second,
                byte * (1 + 2 * training) / machine.bytes_per_second,
            )
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
        peak_bytes=_peak(tape),
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


def _root(value: Value) -> Value:
    """The value whose memory it lives in: of a view its base, of an in-place operation what it wrote to."""
    while value.base is not None or (value.operation is not None and value.operation.in_place):
        value = value.base if value.base is not None else value.operation.inputs()[0]
    return value


def _peak(tape: Tape) -> int:
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


def _living_bytes(value: Value) -> int:
    return 0 if value.data is not None else value.bytes
