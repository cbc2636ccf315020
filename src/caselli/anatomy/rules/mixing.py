"""Operations that mix whole axes: products of matrices, softmax, reductions, attention, transforms."""

from __future__ import annotations

import numpy as np

from caselli.anatomy.relation import NOWHERE, WHOLE, Along, Fixed, Separable, everything, same
from caselli.anatomy.rules.registry import Dependency, elementwise, register_rule
from caselli.anatomy.tape import Operation, Value


def _product(a: Value, b: Value, out: tuple[int, ...]) -> list[Dependency]:
    """… n k · … k m → … n m, leading axes by place."""
    lead = len(out) - 2
    rows = Separable((*(Along(i) for i in range(lead)), Along(lead), WHOLE), a.shape, out)
    columns = Separable((*(Along(i) for i in range(lead)), WHOLE, Along(lead + 1)), b.shape, out)
    return [(a, rows), (b, columns)]


@register_rule("mm", "bmm", "matmul", "_int_mm")
def matmul(operation: Operation, slot: int) -> list[Dependency]:
    a, b = operation.args[:2]
    out = operation.outputs[slot].shape
    if len(a.shape) == len(b.shape) == len(out):
        return _product(a, b, out)
    return [(value, everything(value.shape, out)) for value in (a, b)]


@register_rule("addmm", "baddbmm")
def addmm(operation: Operation, slot: int) -> list[Dependency]:
    bias, a, b = operation.args[:3]
    out = operation.outputs[slot].shape
    return [(bias, same(bias.shape, out)), *_product(a, b, out)]


@register_rule("linear")
def linear(operation: Operation, slot: int) -> list[Dependency]:
    x, *rest = operation.inputs()
    out = operation.outputs[slot].shape
    places = Separable((*(Along(axis) for axis in range(len(out) - 1)), WHOLE), x.shape, out)
    return [(x, places)] + [(value, everything(value.shape, out)) for value in rest]


@register_rule("mv", "dot", "vdot", "addmv", "ger", "outer", "_trilinear", "cdist", "_cdist_forward", "addr")
def unstructured(operation: Operation, slot: int) -> list[Dependency]:
    """Followed as seeing everything."""
    out = operation.outputs[slot].shape
    return [(value, everything(value.shape, out)) for value in operation.inputs()]


@register_rule("_softmax", "_log_softmax", "softmax", "log_softmax", "_safe_softmax", "sort", "logcumsumexp")
def along_axis(operation: Operation, slot: int) -> list[Dependency]:
    """Every place of the axis sees the whole axis."""
    arguments = operation.arguments()
    x, out = operation.inputs()[0], operation.outputs[slot].shape
    axis = arguments["dim"] % len(x.shape)
    axes = tuple(WHOLE if a == axis else Along(a) for a in range(len(x.shape)))
    return [(x, Separable(axes, x.shape, out))]


@register_rule("cumsum", "cumprod", "cummax", "cummin")
def cumulative(operation: Operation, slot: int) -> list[Dependency]:
    """Every place sees those before it and itself."""
    x, out = operation.inputs()[0], operation.outputs[slot].shape
    axis = operation.arguments()["dim"] % len(x.shape)
    axes = tuple(_before(a) if a == axis else Along(a) for a in range(len(x.shape)))
    return [(x, Separable(axes, x.shape, out))]


def _before(axis: int) -> Along:
    def table(outputs: np.ndarray) -> np.ndarray:
        places = np.arange(outputs.max(initial=0) + 1)
        return np.where(places <= outputs[:, None], places, NOWHERE)

    return Along(axis, table, line=None)


@register_rule(
    *("mean", "sum", "amax", "amin", "prod", "var", "std", "var_mean", "std_mean", "logsumexp", "max", "min"),
    *(
        "argmax",
        "argmin",
        "any",
        "all",
        "median",
        "norm",
        "linalg_vector_norm",
        "nansum",
        "topk",
        "count_nonzero",
    ),
    *("nanmedian", "kthvalue", "mode", "aminmax"),
)
def reduction(operation: Operation, slot: int) -> list[Dependency]:
    """The reduced axes whole, the others by place."""
    inputs = operation.inputs()
    arguments = operation.arguments()
    if "other" in arguments:  # the maximum of two tensors
        return elementwise(operation, slot)
    x, out = inputs[0], operation.outputs[slot].shape
    rank = len(x.shape)
    given = arguments.get("dim")
    reduced = range(rank) if given is None or given == [] else given if isinstance(given, list) else [given]
    axes_reduced = {axis % rank for axis in reduced} if rank else set()
    axes: list[Along | Fixed] = []
    kept = 0
    for axis in range(rank):
        if axis in axes_reduced:
            axes.append(WHOLE)
            kept += len(out) == rank
        else:
            axes.append(Along(kept))
            kept += 1
    return [(x, Separable(tuple(axes), x.shape, out))]


@register_rule(
    *("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention"),
    *("_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention"),
    *("_scaled_dot_product_attention_math", "scaled_dot_product_attention"),
    *("_scaled_dot_product_fused_attention_overrideable", "_scaled_dot_product_attention_math_for_mps"),
)
def attention(operation: Operation, slot: int) -> list[Dependency]:
    """A query sees every key and value that the mask allows; a mask made from data allows all of them."""
    arguments = operation.arguments()
    query, key, value = operation.inputs()[:3]
    out = operation.outputs[slot].shape
    if slot > 0:
        return [(v, everything(v.shape, out)) for v in (query, key, value)]
    rank = len(query.shape)
    lead = tuple(Along(axis) if query.shape[axis] == key.shape[axis] else WHOLE for axis in range(rank - 2))
    mask = next((arguments[n] for n in ("attn_mask", "attn_bias") if arguments.get(n) is not None), None)
    seen: Along | Fixed = WHOLE
    if arguments.get("is_causal"):
        seen = _allowed(rank - 2, np.tril(np.ones((query.shape[-2], key.shape[-2]), dtype=bool)))
    elif mask is not None and not mask.depends:
        numbers = mask.constant().cpu()
        allowed = numbers > float("-inf") if numbers.is_floating_point() else numbers
        any_head = allowed.reshape(-1, *allowed.shape[-2:]).any(0).numpy()
        seen = _allowed(rank - 2, np.broadcast_to(any_head, (query.shape[-2], key.shape[-2])))
    query_axes = (*(Along(axis) for axis in range(rank - 1)), WHOLE)
    found: list[Dependency] = [(query, Separable(query_axes, query.shape, out))]
    found.append((key, Separable((*lead, seen, WHOLE), key.shape, out)))
    found.append((value, Separable((*lead, seen, Along(rank - 1)), value.shape, out)))
    if mask is not None and mask.depends:
        found.append((mask, everything(mask.shape, out)))
    return found


def _allowed(axis: int, mask: np.ndarray) -> Along:
    """Output o sees the inputs that row o of the mask allows."""
    table = np.where(mask, np.arange(mask.shape[1]), NOWHERE)

    def rows(outputs: np.ndarray) -> np.ndarray:
        inside = (outputs >= 0) & (outputs < len(table))
        return np.where(inside[:, None], table[np.clip(outputs, 0, len(table) - 1)], NOWHERE)

    return Along(axis, rows, line=None)


@register_rule("_fft_r2c", "_fft_c2c", "_fft_c2r")
def fourier(operation: Operation, slot: int) -> list[Dependency]:
    """The transformed axes whole, the others by place."""
    x, out = operation.args[0], operation.outputs[slot].shape
    transformed = {axis % len(x.shape) for axis in operation.args[1]}
    axes = tuple(WHOLE if axis in transformed else Along(axis) for axis in range(len(x.shape)))
    return [(x, Separable(axes, x.shape, out))]


@register_rule("native_channel_shuffle", "channel_shuffle")
def channel_shuffle(operation: Operation, slot: int) -> list[Dependency]:
    """Channel c of the output is channel (c mod g) · C/g + c / g of the input."""
    x, groups = operation.args
    size = x.shape[1] // groups
    axes = [Along(axis) for axis in range(len(x.shape))]
    axes[1] = Along(1, lambda c: (c % groups * size + c // groups)[:, None], line=None)
    return [(x, Separable(tuple(axes), x.shape, operation.outputs[slot].shape))]
