"""Propagation of an added constant through a network: operations that remove it or keep it constant."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable

from caselli.anatomy.relation import Along, Regrouped, Separable
from caselli.anatomy.rules import RULES, dependencies
from caselli.anatomy.tape import Operation, Value


class Effect(enum.Enum):
    """The effect of a bias on the output."""

    NEEDED = "needed"
    """It reaches the output."""
    PARTLY = "partly redundant"
    """Its mean over a group of channels is removed, its differences between them are not."""
    REDUNDANT = "redundant"
    """All of it is removed: the layer does the same without."""
    UNUSED = "unused"
    """Nothing that is computed from it is used."""


Axes = frozenset[int]
"""The axes along which what a bias adds may vary; along the others it is constant."""


BATCH_NORMS = (
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
)


def removal(operation: Operation, value: Value, varies: Axes) -> Effect | None:
    """The part of a shift of its input `value` that an operation removes; `None` for other operations."""
    if not operation.inputs() or operation.inputs()[0] is not value:
        return _removal_of_keys(operation, value, varies)
    rank = len(value.shape)
    if operation.name in BATCH_NORMS:
        return Effect.REDUNDANT if varies <= {1} else Effect.NEEDED
    if operation.name == "native_group_norm":
        if not varies <= {0, 1}:
            return Effect.NEEDED
        return Effect.REDUNDANT if operation.arguments()["group"] == value.shape[1] else Effect.PARTLY
    if operation.name == "native_layer_norm":
        spanned = set(range(rank - len(operation.arguments()["normalized_shape"]), rank))
        return Effect.PARTLY if varies & spanned else Effect.REDUNDANT
    if operation.name in ("_softmax", "_log_softmax"):
        return Effect.NEEDED if operation.arguments()["dim"] % rank in varies else Effect.REDUNDANT
    return None


ATTENTIONS = tuple(name for name in RULES if "scaled_dot_product" in name)


def _removal_of_keys(operation: Operation, value: Value, varies: Axes) -> Effect | None:
    """Softmax removes what a constant added to every key adds to a query's scores."""
    if operation.name not in ATTENTIONS:
        return None
    query, key, attended = operation.inputs()[:3]
    if value is not key or value in (query, attended):
        return None
    return Effect.NEEDED if len(value.shape) - 2 in varies else Effect.REDUNDANT


Reached = list[tuple[Value, Axes | None]]
"""The outputs that a shift reaches, each with the axes along which it varies there; `None` for axes: it has
become something that depends on the data."""


def _lost(operation: Operation) -> Reached:
    return [(out, None) for out in operation.outputs if out.dtype.is_floating_point]


def _through_linear(operation: Operation, value: Value, varies: Axes) -> Reached:
    """Weights that sum to one: a constant passes as the same constant."""
    return [
        (out, _moved(operation, out.slot, value, varies))
        for out in operation.outputs
        if out.dtype.is_floating_point
    ]


def _through_join(operation: Operation, value: Value, varies: Axes) -> Reached:
    """Joined parts may differ along the axis at which they are joined."""
    (out,) = operation.outputs
    return [(out, _moved(operation, 0, value, varies) | {operation.arguments()["dim"] % len(out.shape)})]


def _through_product(operation: Operation, value: Value, varies: Axes) -> Reached:
    """A matrix of weights behind mixes the last axis alone."""
    inputs = operation.inputs()
    if any(other.depends for other in inputs if other is not value) or value is not inputs[-2]:
        return _lost(operation)
    return [(operation.outputs[0], varies | {len(value.shape) - 1})]


def _through_attention(operation: Operation, value: Value, varies: Axes) -> Reached:
    """Weights of sum one over positions keep what all attended values share."""
    inputs = operation.inputs()
    keeps = value is inputs[2] and value not in inputs[:2] and len(value.shape) - 2 not in varies
    return [(operation.outputs[0], varies)] if keeps else _lost(operation)


def _through_scaling(operation: Operation, value: Value, varies: Axes) -> Reached:
    """A fixed factor; where it differs, so does the shift."""
    inputs, out = operation.inputs(), operation.outputs[0]
    others = [other for other in inputs if other is not value]
    if (inputs[0] is not value and operation.name == "div") or any(other.depends for other in others):
        return _lost(operation)
    spread = {
        axis + len(out.shape) - len(other.shape)
        for other in others
        for axis, size in enumerate(other.shape)
        if size > 1
    }
    return [(out, _moved(operation, 0, value, varies) | spread)]


def _through_mean_window(operation: Operation, value: Value, varies: Axes) -> Reached:
    """Padding that counts makes the border differ."""
    arguments = operation.arguments()
    padded = any(arguments["padding"]) and arguments["count_include_pad"]
    space = range(len(value.shape) - int(operation.name[len("avg_pool")]), len(value.shape))
    return [(operation.outputs[0], varies | frozenset(space) if padded else varies)]


def _through_extreme(operation: Operation, value: Value, varies: Axes) -> Reached:
    """max(x + c) = max(x) + c, if c is the same all over the window."""
    found = re.search(r"(\d)d", operation.name)
    lead = len(value.shape) - (int(found[1]) if found else 2)
    even = all(axis < lead for axis in varies)
    return [(operation.outputs[0], varies)] if even else _lost(operation)


def _through_padding(operation: Operation, value: Value, varies: Axes) -> Reached:
    """The constant at the border is not shifted."""
    (out,) = operation.outputs
    changed = {a for a, (n, m) in enumerate(zip(value.shape, out.shape, strict=True)) if n != m}
    return [(out, varies | changed)]


def _through_convolution(operation: Operation, value: Value, varies: Axes) -> Reached:
    """Weights mix channels; at a border that is padded, or transposed, the sum of the taps differs."""
    arguments, out = operation.arguments(), operation.outputs[0]
    if value is not arguments["input"]:
        return [(out, None)]
    even = varies <= {0, 1} and not any(arguments["padding"]) and not arguments["transposed"]
    return [(out, (varies | {1}) if even else frozenset(range(1, len(out.shape))) | varies)]


LINEAR = (
    *("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "permute", "transpose", "t", "expand"),
    *("slice", "select", "split", "split_with_sizes", "unbind", "clone", "detach", "alias", "_to_copy"),
    *("neg", "repeat", "mean", "add", "sub", "pixel_shuffle", "pixel_unshuffle", "index_select", "flip"),
    *("roll", "copy", "native_channel_shuffle", "channel_shuffle", "dropout", "contiguous", "unfold"),
    *(f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3)),
    *("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"),
    *(f"upsample_nearest{n}d" for n in (1, 2, 3)),
    *(f"_upsample_nearest_exact{n}d" for n in (1, 2, 3)),
    *("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d"),
)

PASSAGES: dict[str, Callable[[Operation, Value, Axes], Reached]] = {
    **dict.fromkeys(LINEAR, _through_linear),
    **dict.fromkeys(("cat", "stack"), _through_join),
    **dict.fromkeys(("convolution", "_convolution"), _through_convolution),
    **dict.fromkeys(("mm", "addmm", "bmm"), _through_product),
    **dict.fromkeys(ATTENTIONS, _through_attention),
    **dict.fromkeys(("mul", "div"), _through_scaling),
    **{f"avg_pool{n}d": _through_mean_window for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": _through_extreme for n in (2, 3)},
    **{f"adaptive_max_pool{n}d": _through_extreme for n in (2, 3)},
    "amax": _through_extreme,
    "constant_pad_nd": _through_padding,
}
"""Name of an operation → how a shift of an input passes; what is not here makes it depend on data."""


def passage(operation: Operation, value: Value, varies: Axes) -> Reached:
    """The outputs that a shift of `value` reaches."""
    through = PASSAGES.get(operation.name)
    return through(operation, value, varies) if through else _lost(operation)


def _moved(operation: Operation, slot: int, value: Value, varies: Axes) -> Axes:
    """The output's axes that the axes `varies` of an input become."""
    out = operation.outputs[slot]
    moved: set[int] = set()
    for given, relation in dependencies(operation, slot):
        if given is not value:
            continue
        if isinstance(relation, Separable):
            moved |= {
                rule.axis
                for axis, rule in enumerate(relation.axes)
                if axis in varies and isinstance(rule, Along)
            }
        elif isinstance(relation, Regrouped):
            moved |= {o for ins, outs in relation.blocks() if varies & set(ins) for o in outs}
        else:
            moved |= set(range(1, len(out.shape))) if varies - {0} else set()
    return frozenset(moved)
