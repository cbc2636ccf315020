"""Which biases a network has, which of them do anything, and what becomes of them when a norm is folded away.

A bias is redundant if a later layer removes whatever it adds. Batch normalisation removes any constant per
channel; group normalisation only with one channel a group, since it subtracts one mean for all channels of a
group; layer normalisation only the part that all channels share; softmax what is the same along its axis, so
the bias of attention's keys. Between the two there may only be layers that pass a constant on as a constant.
"""

from __future__ import annotations

import copy
import dataclasses
import enum

import torch
from torch import nn

from caselli.anatomy.relation import Along, Regrouped, Separable
from caselli.anatomy.rules import dependencies
from caselli.anatomy.tape import Operation, Tape, Value, evaluating, record
from caselli.errors import UserError
from caselli.shapes import Tensor


class Effect(enum.Enum):
    """What becomes of a bias."""

    NEEDED = "needed"
    """It reaches the output."""
    PARTLY = "partly redundant"
    """Its mean over a group of channels is removed, its differences between them are not."""
    REDUNDANT = "redundant"
    """All of it is removed: the layer does the same without."""
    UNUSED = "unused"
    """Nothing that is computed from it is used."""


@dataclasses.dataclass(frozen=True)
class Bias:
    """A bias of a network."""

    name: str
    """The parameter's name."""
    elements: int
    effect: Effect
    removed_by: tuple[str, ...]
    """The layers that remove it, or part of it."""


Axes = frozenset[int]
"""The axes along which what a bias adds may vary; along the others it is constant."""


def biases(
    module: nn.Module, input_shape: tuple[int, ...], *more_shapes: tuple[int, ...]
) -> tuple[Bias, ...]:
    """Every bias of a module, and what becomes of it.

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
    """The same for a module already recorded."""
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
        removed = _removal(operation, value, varies)
        if removed is not None:
            self.ends.append((removed, operation.layer or operation.name))
            return
        for out, axes in _passage(operation, value, varies):
            if axes is None:
                if self.uses.get(out) or out in self.outputs:
                    self.ends.append((Effect.NEEDED, operation.layer))
            else:
                self.follow(out, axes)


NORMS = (
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
)


def _removal(operation: Operation, value: Value, varies: Axes) -> Effect | None:
    """What an operation removes of a shift of its input `value`; `None` if it is none that does."""
    if not operation.inputs() or operation.inputs()[0] is not value:
        return _removal_of_keys(operation, value, varies)
    rank = len(value.shape)
    if operation.name in NORMS:
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


def _removal_of_keys(operation: Operation, value: Value, varies: Axes) -> Effect | None:
    """Softmax removes what a constant added to every key adds to a query's scores."""
    if not operation.name.startswith("_scaled_dot_product"):
        return None
    query, key, attended = operation.inputs()[:3]
    if value is not key or value in (query, attended):
        return None
    return Effect.NEEDED if len(value.shape) - 2 in varies else Effect.REDUNDANT


LINEAR = {
    *(
        "view",
        "_unsafe_view",
        "reshape",
        "unsqueeze",
        "squeeze",
        "permute",
        "transpose",
        "t",
        "expand",
        "slice",
    ),
    *(
        "select",
        "split",
        "split_with_sizes",
        "unbind",
        "clone",
        "detach",
        "alias",
        "_to_copy",
        "neg",
        "repeat",
    ),
    *(
        "mean",
        "add",
        "sub",
        "pixel_shuffle",
        "pixel_unshuffle",
        "index_select",
        "flip",
        "roll",
        "copy",
        "cat",
    ),
    *("native_channel_shuffle", "channel_shuffle", "dropout", "contiguous", "stack", "unfold"),
    *(f"reflection_pad{n}d" for n in (1, 2, 3)),
    *(f"replication_pad{n}d" for n in (1, 2, 3)),
    *(f"_adaptive_avg_pool{n}d" for n in (2, 3)),
    *(f"upsample_{kind}" for kind in ("nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d")),
    *(f"_upsample_nearest_exact{n}d" for n in (1, 2, 3)),
    *("upsample_trilinear3d", "upsample_bicubic2d"),
}
"""Operations that pass a constant on as the same constant: their weights sum to one."""

EXTREMES = {
    *(f"max_pool{n}d_with_indices" for n in (2, 3)),
    *(f"adaptive_max_pool{n}d" for n in (2, 3)),
    "amax",
}
"""max(x + c) = max(x) + c, if c is the same all over the window."""


def _passage(operation: Operation, value: Value, varies: Axes) -> list[tuple[Value, Axes | None]]:
    """The outputs that a shift of `value` reaches, each with the axes along which it varies there.

    `None` for axes: the shift has become something that depends on the data.
    """
    outs = [out for out in operation.outputs if out.dtype.is_floating_point]
    name = operation.name
    inputs = operation.inputs()
    lost: list[tuple[Value, Axes | None]] = [(out, None) for out in outs]
    if name in ("convolution", "_convolution"):
        return _through_convolution(operation, value, varies)
    if name in ("mm", "addmm", "bmm"):
        if any(other.depends for other in inputs if other is not value) or value is not inputs[-2]:
            return lost
        last = len(value.shape) - 1
        return [(outs[0], varies | {last})]
    if name.startswith("_scaled_dot_product"):
        keeps = value is inputs[2] and value not in inputs[:2] and len(value.shape) - 2 not in varies
        return [(outs[0], varies)] if keeps else lost
    if name in ("mul", "div"):
        others = [other for other in inputs if other is not value]
        if (inputs[0] is not value and name == "div") or any(other.depends for other in others):
            return lost
        spread = {
            axis + len(outs[0].shape) - len(other.shape)
            for other in others
            for axis, size in enumerate(other.shape)
            if size > 1
        }
        return [(outs[0], _moved(operation, 0, value, varies) | spread)]
    if name.startswith("avg_pool"):
        padded = any(operation.arguments()["padding"]) and operation.arguments()["count_include_pad"]
        space = range(len(value.shape) - int(name[8]), len(value.shape))
        return [(outs[0], varies | frozenset(space) if padded else varies)]
    if name in EXTREMES:
        lead = len(value.shape) - (int(name[-len("d_with_indices") - 1]) if "with" in name else 2)
        return [(outs[0], varies)] if all(axis < lead for axis in varies) else lost
    if name == "constant_pad_nd":
        changed = {a for a, (n, m) in enumerate(zip(value.shape, outs[0].shape, strict=True)) if n != m}
        return [(outs[0], varies | changed)]
    if name not in LINEAR:
        return lost
    found: list[tuple[Value, Axes | None]] = []
    for out in outs:
        axes = _moved(operation, out.slot, value, varies)
        if name in ("cat", "stack"):
            axes |= {operation.arguments()["dim"] % len(out.shape)}
        found.append((out, axes))
    return found


def _through_convolution(operation: Operation, value: Value, varies: Axes) -> list[tuple[Value, Axes | None]]:
    arguments, out = operation.arguments(), operation.outputs[0]
    if value is not arguments["input"]:
        return [(out, None)]
    even = varies <= {0, 1} and not any(arguments["padding"]) and not arguments["transposed"]
    return [(out, (varies | {1}) if even else frozenset(range(1, len(out.shape))) | varies)]


def _moved(operation: Operation, slot: int, value: Value, varies: Axes) -> Axes:
    """Where the axes `varies` of an input lie in the output."""
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


def _judge(tape: Tape, name: str, value: Value) -> Bias:
    walk = _Walk(tape)
    for operation in walk.uses.get(value, []):
        out = operation.outputs[0]
        if operation.name in ("convolution", "_convolution", "native_group_norm", *NORMS):
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


def without_redundant_biases(module: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """A copy without its redundant biases, which computes the same.

    The running means of batch normalisation, which have learnt the biases, are corrected by what the biases
    added to them, so that evaluation gives the same too.

    Arguments:
        module: any module of one input.
        input_shape: (C, *space) of one picture.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> without_redundant_biases(network, (3, 8, 8))[0].bias is None
        True
    """
    lean = copy.deepcopy(module)
    for bias in biases(module, input_shape):
        if bias.effect in (Effect.REDUNDANT, Effect.UNUSED):
            path, _, last = bias.name.rpartition(".")
            layer = lean.get_submodule(path)
            if isinstance(layer, nn.modules.conv._ConvNd | nn.Linear):
                setattr(layer, last, None)
            else:
                nn.init.zeros_(getattr(layer, last))
    _correct_running_means(module, lean, input_shape)
    return lean


@torch.no_grad()
def _correct_running_means(module: nn.Module, lean: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Runs both on noise; what differs before a batch normalisation is a constant per channel."""
    given: list[Tensor] = []
    like = next(module.parameters())
    x = torch.randn(2, *input_shape, dtype=like.dtype, device=like.device)

    def correct(norm, args):
        shift = (
            (given.pop(0) - args[0]).flatten(2) if args[0].dim() > 2 else (given.pop(0) - args[0])[..., None]
        )
        if norm.running_mean is not None:
            norm.running_mean -= shift.mean((0, 2))

    handles = [
        n.register_forward_pre_hook(lambda n, args: given.append(args[0].clone()))
        for n in _batch_norms(module)
    ]
    handles += [n.register_forward_pre_hook(correct) for n in _batch_norms(lean)]
    with evaluating(module), evaluating(lean):
        module(x)
        lean(x)
    for handle in handles:
        handle.remove()


def _batch_norms(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def fold_batch_norm(layer: nn.Module, norm: nn.Module) -> nn.Module:
    r"""One layer that does what a layer and the batch normalisation after it do in evaluation.

    .. math:: W' = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}\, W, \qquad
        b' = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}\,(b - \mu) + \beta

    Arguments:
        layer: a convolution, transposed convolution or linear layer.
        norm: the batch normalisation of its output, with running statistics.

    Returns:
        A copy of the layer, with a bias.
    """
    if norm.running_mean is None:
        raise UserError(
            "a batch normalisation without running statistics was given",
            "one that has them was expected",
            "it normalises by each batch, and cannot be folded",
        )
    folded = copy.deepcopy(layer)
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight.detach()
    shift = 0 if norm.bias is None else norm.bias.detach()
    bias = torch.zeros_like(norm.running_mean) if layer.bias is None else layer.bias.detach()
    weight = layer.weight.detach()
    if getattr(layer, "transposed", False):  # (inputs, outputs / groups, …): the outputs of each group apart
        grouped = weight.unflatten(0, (layer.groups, -1))
        per_group = scale.view(layer.groups, 1, -1, *[1] * (weight.dim() - 2))
        weight = (grouped * per_group).flatten(0, 1)
    else:
        weight = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    folded.weight = nn.Parameter(weight)
    folded.bias = nn.Parameter((bias - norm.running_mean) * scale + shift)
    return folded


def folded(module: nn.Module, input_shape: tuple[int, ...]) -> nn.Module:
    """A copy in which every batch normalisation that can be is folded into the layer before it.

    It can be if it is the only one that uses that layer's output, and each is called once.

    Arguments:
        module: any module of one input.
        input_shape: (C, *space) of one picture.

    Example:
        >>> folded(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), (3, 8, 8))[1]
        Identity()
    """
    tape = record(module, (2, *input_shape))
    uses: dict[Value, int] = {}
    for operation in tape.operations:
        for value in operation.inputs():
            uses[value] = uses.get(value, 0) + 1
    calls = [call.path for call in tape.calls]
    makers = {call.outputs[0]: call for call in tape.calls if call.outputs and call.is_leaf}
    lean = copy.deepcopy(module)
    for call in tape.calls:
        before = makers.get(call.inputs[0]) if call.inputs else None
        if (
            isinstance(call.module, nn.modules.batchnorm._BatchNorm)
            and call.module.running_mean is not None
            and before is not None
            and isinstance(before.module, nn.modules.conv._ConvNd | nn.Linear)
            and uses[call.inputs[0]] == 1
            and calls.count(call.path) == calls.count(before.path) == 1
        ):
            lean.set_submodule(before.path, fold_batch_norm(before.module, call.module))
            lean.set_submodule(call.path, nn.Identity())
    return lean
