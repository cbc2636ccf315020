"""Multiply-accumulates and bytes of one operation: the table that costs of networks and of steps share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

from caselli.anatomy.products import multiplies_nothing
from caselli.anatomy.tape import Operation, Value, plain_name
from caselli.errors import UserError
from caselli.private import tree_leaves, tree_map
from caselli.shapes import Tensor

Shape = torch.Size


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of an operation, its tensors by their shapes."""

    inputs: list[Shape]
    output: Shape
    """The first output's."""
    args: tuple
    """All arguments that were given by position."""


def _linear(call: Call) -> int:
    x, weight = call.inputs[:2]
    return x.numel() * weight[0]


def _product(call: Call) -> int:
    a, b = call.inputs
    return a.numel() * b[1]


def _vector(call: Call) -> int:
    return max(shape.numel() for shape in call.inputs)


def _attention(call: Call) -> int:
    query, key, value = call.inputs[:3]
    return query[:-1].numel() * key[-2] * (query[-1] + value[-1])


def _attention_backward(call: Call) -> int:
    """The scores again, and two products for each of the forward pass's two."""
    _, query, key, value = call.inputs[:4]
    return query[:-1].numel() * key[-2] * (3 * query[-1] + 2 * value[-1])


def _recurrent(call: Call) -> int:
    """Every step multiplies its input, and its state, by a matrix."""
    x, into, again = call.inputs[:3]
    return x[:-1].numel() * (into.numel() + again.numel())


def _trilinear(call: Call) -> int:
    x, weight = call.inputs[:2]
    return x[0] * weight.numel()


def _batches(call: Call) -> int:
    a, b = call.inputs[-2:]
    return a.numel() * b[2]


def _distances(call: Call) -> int:
    return call.output.numel() * call.inputs[0][-1]


def _affine_grid(call: Call) -> int:
    """A number of a position for each of its axes, and one more."""
    return call.output.numel() * (call.output[-1] + 1)


def _triangular(call: Call) -> int:
    """Half of the products with the whole matrix."""
    return call.output.numel() * call.inputs[0][-1] // 2


def _fourier(call: Call) -> int:
    """5 n log₂ n FLOPs for n numbers, as is usual."""
    shape = max((call.inputs[0], call.output), key=Shape.numel)
    length = math.prod(shape[axis] for axis in call.args[1])
    return round(2.5 * shape.numel() * math.log2(length))


def _outer(call: Call) -> int:
    return call.output.numel()


def _time_convolution(call: Call) -> int:
    width, channels, _ = call.inputs[1]
    return call.output.numel() * width * channels


def _weighted_bag(call: Call) -> int:
    """A bag of embeddings multiplies where its samples have weights of their own."""
    weight, indices, _, *more = call.inputs
    return indices.numel() * weight[1] if more else 0


def _interpolation(taps: int) -> Callable[[Call], int]:
    return lambda call: call.output.numel() * taps


def _sampled(*taps: int) -> Callable[[Call], int]:
    """By the number of a grid's mode: bilinear, nearest, bicubic."""
    return lambda call: call.output.numel() * taps[call.args[2]]


def _antialiased(radius: int) -> Callable[[Call], int]:
    """Rows first, then columns; where it makes smaller, the filter is as many times wider."""

    def count(call: Call) -> int:
        (high, wide), (low, narrow) = call.inputs[0][-2:], call.output[-2:]
        taps = [math.ceil(2 * radius * max(1, a / b)) for a, b in ((wide, narrow), (high, low))]
        maps = call.inputs[0][:-2].numel()
        return maps * (high * narrow * taps[0] + low * narrow * taps[1])

    return count


MACS: dict[str, Callable[[Call], int]] = {
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
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward,
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
    **dict.fromkeys((name for name in MACS if "upsample" in name or "grid" in name), slice(0, 1)),
    **dict.fromkeys(("_fft_c2c", "_fft_r2c", "_fft_c2r"), slice(0, 1)),
    "_trilinear": slice(0, 3),
}
"""Operands that products are made of, among the inputs of an operation; of others the last two."""
FREE = {"detach", "alias", "empty", "new_empty", "empty_like", "arange", "lift_fresh"}
"""Operations that move no bytes; views are free too."""


def counted(function: Any, args: tuple, kwargs: dict[str, Any], result: Any) -> int | None:
    """Multiply-accumulates of a call of an operation of the dispatcher; None where nobody has said how many.

    Arguments:
        function: the overload that is called.
        args, kwargs: its arguments, tensors or the tape's values among them.
        result: what it gives.

    Example:
        >>> x = torch.ones(2, 3)
        >>> counted(torch.ops.aten.mm.default, (x, x.T), {}, x @ x.T)
        12
    """
    args, kwargs, result = tree_map(_shape, (args, kwargs, result))
    if rule := MACS.get(plain_name(function)):
        return rule(Call(_shapes((args, kwargs)), _shapes(result)[0], args))
    if flops := flop_registry.get(function.overloadpacket):
        return flops(*args, **kwargs, out_val=result) // 2
    return 0 if multiplies_nothing(function) else None


def _shape(leaf: Any) -> Any:
    return Shape(leaf.shape) if isinstance(leaf, Value | Tensor) else leaf


def _shapes(tree: Any) -> list[Shape]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Shape)]


def macs(operation: Operation) -> int:
    """Multiply-accumulates of one operation of a tape.

    Errors: `UserError` for an operation that may multiply, and nobody has said how often.
    """
    if operation.function is None:
        return 0
    out = operation.outputs
    count = counted(operation.function, operation.args, operation.kwargs, out[0] if len(out) == 1 else out)
    if count is None:
        raise UserError(
            f"{operation.place} may multiply and sum, and nobody has said how often",
            "operations that are counted, or known to multiply nothing, were expected",
        )
    return count


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


def moves_nothing(function: Any) -> bool:
    """True for an operation that reads and writes no bytes: a view, or one that is `FREE`."""
    return function is None or function.is_view or plain_name(function) in FREE


def moved(operation: Operation) -> int:
    """Bytes read and written by one operation of a tape."""
    if moves_nothing(operation.function):
        return 0
    return sum(value.bytes for value in {*operation.inputs(), *operation.outputs})
