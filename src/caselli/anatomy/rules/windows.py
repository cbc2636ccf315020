"""Operations with a sliding window: convolution, transposed convolution, pooling, unfolding."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from caselli.anatomy.relation import (
    NOWHERE,
    WHOLE,
    Along,
    Chain,
    Line,
    Regrouped,
    Relation,
    Separable,
    everything,
)
from caselli.anatomy.rules.registry import Dependency, register_rule
from caselli.anatomy.tape import Operation, Value


def window(axis: int, taps: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Along:
    """Output o sees inputs o·s − p + d·k for k = 0 … taps − 1."""
    offsets = dilation * np.arange(taps) - padding
    centre = Line(Fraction(stride), Fraction(dilation * (taps - 1), 2) - padding)
    return Along(axis, lambda o: o[:, None] * stride + offsets, line=centre)


def transposed_window(axis: int, taps: int, stride: int, padding: int, dilation: int) -> Along:
    """Output o sees inputs (o + p − d·k) / s where that is whole."""

    def table(outputs: np.ndarray) -> np.ndarray:
        places = outputs[:, None] + padding - dilation * np.arange(taps)
        return np.where(places % stride == 0, places // stride, NOWHERE)

    centre = Line(Fraction(1, stride), (padding - Fraction(dilation * (taps - 1), 2)) / stride)
    return Along(axis, table, line=centre)


def ranges(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Rows first … last, filled up with `NOWHERE`."""
    places = first[:, None] + np.arange(int((last - first).max(initial=0)) + 1)
    return np.where(places <= last[:, None], places, NOWHERE)


def adaptive_window(axis: int, size: int, out_size: int) -> Along:
    """Output o sees inputs ⌊oH/h⌋ … ⌈(o+1)H/h⌉ − 1."""
    if out_size == 1:
        return Along(axis, lambda o: np.broadcast_to(np.arange(size), (len(o), size)), line=None)
    step = Fraction(size, out_size)
    return Along(
        axis,
        lambda o: ranges(o * size // out_size, -(-(o + 1) * size // out_size) - 1),
        line=Line(step, (step - 1) / 2),
    )


def _tuple(given, count: int) -> tuple[int, ...]:
    given = tuple(given) if isinstance(given, list | tuple) else (given,)
    return given if len(given) == count else given[:1] * count


def _channels(groups: int, inputs: int, outputs: int) -> Along:
    """Each output channel sees the input channels of its group."""
    size, made = inputs // groups, outputs // groups
    return Along(1, lambda c: c[:, None] // made * size + np.arange(size), line=None)


@register_rule("convolution", "_convolution")
def convolution(operation: Operation, slot: int) -> list[Dependency]:
    arguments = operation.arguments()
    x, weight, groups = arguments["input"], arguments["weight"], arguments["groups"]
    space = len(x.shape) - 2
    out = operation.outputs[slot].shape
    settings = zip(
        weight.shape[2:],
        *(_tuple(arguments[name], space) for name in ("stride", "padding", "dilation")),
        strict=True,
    )
    kind = transposed_window if arguments["transposed"] else window
    axes = tuple(kind(axis + 2, *setting) for axis, setting in enumerate(settings))
    channels = _channels(groups, x.shape[1], out[1]) if groups > 1 else WHOLE
    found: list[Dependency] = [(x, Separable((Along(0), channels, *axes), x.shape, out))]
    # weights made from the picture: all of them matter everywhere
    return found + [(value, everything(value.shape, out)) for value in (weight, arguments["bias"]) if value]


def _spatial(x: Value, out: tuple[int, ...], axes: list[Along]) -> Relation:
    """The last axes by the given rules, those before by place."""
    lead = len(x.shape) - len(axes)
    return Separable((*(Along(axis) for axis in range(lead)), *axes), x.shape, out)


def _pool(operation: Operation, slot: int, space: int) -> list[Dependency]:
    arguments = operation.arguments()
    x, out = arguments["self"], operation.outputs[slot].shape
    kernel = _tuple(arguments["kernel_size"], space)
    strides = _tuple(arguments["stride"], space) if arguments["stride"] else kernel
    paddings = _tuple(arguments["padding"], space)
    dilations = _tuple(arguments.get("dilation", 1), space)
    lead = len(x.shape) - space
    settings = zip(kernel, strides, paddings, dilations, strict=True)
    return [(x, _spatial(x, out, [window(lead + axis, *setting) for axis, setting in enumerate(settings)]))]


for _space in (1, 2, 3):
    register_rule(f"avg_pool{_space}d", f"max_pool{_space}d", f"max_pool{_space}d_with_indices")(
        lambda operation, slot, space=_space: _pool(operation, slot, space)
    )


def _adaptive_pool(operation: Operation, slot: int, space: int) -> list[Dependency]:
    x, out = operation.inputs()[0], operation.outputs[slot].shape
    axes = range(len(x.shape) - space, len(x.shape))
    return [(x, _spatial(x, out, [adaptive_window(axis, x.shape[axis], out[axis]) for axis in axes]))]


for _space in (1, 2, 3):
    register_rule(
        f"_adaptive_avg_pool{_space}d", f"adaptive_avg_pool{_space}d", f"adaptive_max_pool{_space}d"
    )(lambda operation, slot, space=_space: _adaptive_pool(operation, slot, space))


def _unpool(operation: Operation, slot: int, space: int) -> list[Dependency]:
    """A value may lie anywhere in the window that its switch came from; anywhere for foreign switches."""
    x, switches = operation.args[:2]
    out = operation.outputs[slot].shape
    origin = switches.operation
    lead = len(x.shape) - space
    if origin is not None and origin.name == f"max_pool{space}d_with_indices":
        arguments = origin.arguments()
        kernel = _tuple(arguments["kernel_size"], space)
        strides = _tuple(arguments["stride"], space) if arguments["stride"] else kernel
        settings = zip(
            kernel,
            strides,
            _tuple(arguments["padding"], space),
            _tuple(arguments["dilation"], space),
            strict=True,
        )
        axes = [transposed_window(lead + axis, *setting) for axis, setting in enumerate(settings)]
        relation = _spatial(x, out, axes)
    else:
        relation = Separable((*(Along(a) for a in range(lead)), *[WHOLE] * space), x.shape, out)
    return [(x, relation), (switches, relation)]


for _space in (2, 3):
    register_rule(f"max_unpool{_space}d")(
        lambda operation, slot, space=_space: _unpool(operation, slot, space)
    )


@register_rule("unfold")
def unfold(operation: Operation, slot: int) -> list[Dependency]:
    """`Tensor.unfold`: axis d becomes windows, and their insides a last axis."""
    arguments = operation.arguments()
    x, out = arguments["self"], operation.outputs[slot].shape
    axis, size, step = arguments["dimension"] % len(x.shape), arguments["size"], arguments["step"]
    axes = [Along(a) for a in range(len(x.shape))]
    axes[axis] = window(axis, size, step)
    return [(x, Separable(tuple(axes), x.shape, out))]


def _columns(arguments: dict, picture: tuple[int, ...]) -> tuple[list[tuple], tuple[int, ...]]:
    """The windows of `F.unfold` and `F.fold`: (taps, stride, padding, dilation) per axis; the split shape."""
    names = ("kernel_size", "stride", "padding", "dilation")
    settings = list(zip(*(_tuple(arguments[name], 2) for name in names), strict=True))
    counts = [
        (size + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
        for size, (taps, stride, padding, dilation) in zip(picture[-2:], settings, strict=True)
    ]
    return settings, (picture[0], picture[1], settings[0][0] * settings[1][0], *counts)


@register_rule("im2col")
def im2col(operation: Operation, slot: int) -> list[Dependency]:
    """`F.unfold`: a place of the output sees the whole window that it is made from."""
    x, out = operation.args[0], operation.outputs[slot].shape
    settings, split = _columns(operation.arguments(), x.shape)
    axes = [window(axis + 3, *setting) for axis, setting in enumerate(settings)]
    return [(x, Chain((Separable((Along(0), Along(1), *axes), x.shape, split), Regrouped(split, out))))]


@register_rule("col2im")
def col2im(operation: Operation, slot: int) -> list[Dependency]:
    """`F.fold`: a pixel sees every window that covers it."""
    x, out = operation.args[0], operation.outputs[slot].shape
    settings, split = _columns(operation.arguments(), out)
    axes = [transposed_window(axis + 2, *setting) for axis, setting in enumerate(settings)]
    summed = Separable((Along(0), Along(1), WHOLE, *axes), split, out)
    return [(x, Chain((Regrouped(x.shape, split), summed)))]
