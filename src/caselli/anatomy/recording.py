"""Records a module without running it: every elementary operation, with shapes and no data.

The module runs on fake tensors, which have a shape and no memory, while each operation that reaches torch's
dispatcher is recorded: functional calls, views and in-place ones included. `torch.export` records by the same
means; a plain tape needs none of its guards, and takes milliseconds.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from caselli.anatomy.recorder import TapeRecorder
from caselli.anatomy.tape import LayerCall, Tape, Value
from caselli.errors import UserError, first_line
from caselli.private import asks_for_numbers, shapes_alone, tree_leaves
from caselli.shapes import Tensor


class _FusedAttention(TorchFunctionMode):
    """Lays attention's tensors out so that torch keeps it one operation, whose mask can then be followed."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is not F.scaled_dot_product_attention or len(args) < 3:
            return function(*args, **kwargs)
        query, key, value = (tensor.contiguous() for tensor in args[:3])
        mask = args[3] if len(args) > 3 else kwargs.pop("attn_mask", None)
        rest = args[4:]
        if query.dim() != 3:
            return function(query, key, value, mask, *rest, **kwargs)
        # a mask for each sequence: without a head of its own it would be taken for one of each head
        mask = mask[:, None] if mask is not None and mask.dim() == 3 else mask
        return function(query[:, None], key[:, None], value[:, None], mask, *rest, **kwargs)[:, 0]


@contextlib.contextmanager
def _layers(module: nn.Module, recorder: TapeRecorder, calls: list[LayerCall]) -> Iterator[None]:
    """Records the calls of modules while it lasts, by hooks that are removed afterwards."""
    handles = []

    def known(tree: Any) -> tuple[Value, ...]:
        return tuple(recorder.lookup(t) for t in tree_leaves(tree) if isinstance(t, Tensor))

    for path, child in module.named_modules():
        if not path:
            continue

        def before(child, args, kwargs, path=path):
            recorder.scope.append(path)

        def after(child, args, kwargs, outputs, path=path):
            recorder.scope.pop()
            calls.append(LayerCall(path, child, known((args, kwargs)), known(outputs)))

        handles.append(child.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(child.register_forward_hook(after, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode, and each of its parts back in its own mode afterwards."""
    modes = {child: child.training for child in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for child, mode in modes.items():
            child.training = mode


def apart(module: nn.Module) -> nn.Module:
    """A module with parts of its own over the same weights: what is looked at while other threads use it, as
    `record` exchanges its weights for a moment, and others put hooks into it.

    Arguments:
        module: any module; parameters and buffers are shared, all else is copied.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> twin = apart(layer)
        >>> twin is layer, twin.weight is layer.weight
        (False, True)
    """
    weights = {id(t): t for t in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, weights)


def _fake_state(module: nn.Module) -> dict[str, Tensor]:
    """Fake stand-ins for parameters and buffers; tied ones stay tied."""
    memo: dict[int, Tensor] = {}
    state = {}
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if id(tensor) not in memo:
            memo[id(tensor)] = torch.empty(tensor.shape, dtype=tensor.dtype).requires_grad_(
                tensor.requires_grad
            )
        state[name] = memo[id(tensor)]
    return state


def _picture(given: Tensor | tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An input without data."""
    if isinstance(given, Tensor):
        return torch.empty(given.shape, dtype=given.dtype)
    try:
        return torch.empty(given, dtype=dtype)
    except RuntimeError as error:  # more bytes than 64 bits can count
        raise UserError(f"an input of {_shown(given)} was given", "a smaller one was expected") from error


def _refusal(place: str, inputs: list[Tensor], error: Exception) -> UserError:
    """The mistake behind what a module raised while it was recorded."""
    if asks_for_numbers(error):
        return UserError(
            f"{place} asks for numbers ({getattr(error, 'func', error)})",
            "a path that does not depend on the data was expected",
            "analyse the parts on either side of it",
        )
    given = " and ".join(_shown(tuple(tensor.shape[1:])) for tensor in inputs)
    return UserError(
        f"{place} takes no input of {given} ({first_line(error)})",
        "channels and sizes that it takes were expected",
    )


def _shown(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def record(module: nn.Module, *inputs: Tensor | tuple[int, ...], training: bool = False) -> Tape:
    """Records what a module does with inputs of the given shapes; no data is touched, nothing computed.

    While it runs, the module's weights are exchanged: where other threads use it, record it `apart`.

    Arguments:
        module: any module, on any device ("meta" included).
        inputs: the shapes of its tensor arguments, batch first (of the parameters' dtype), or examples.
        training: record in training mode.

    Raises:
        UserError: if the module's path depends on the data (`if x.sum() > 0`): there is no one answer; if it
            takes no input of that shape; if it gives no tensor.

    Example:
        >>> tape = record(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (1, 3, 8, 8))
        >>> [operation.name for operation in tape.operations], tape.outputs[0].shape
        (['convolution', 'relu'], (1, 8, 6, 6))
    """
    recorder, calls, saved = TapeRecorder(), [], {}

    def keep(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    real = {name: t.detach() for name, t in [*module.named_parameters(), *module.named_buffers()]}
    dtype = next((t.dtype for t in real.values() if t.is_floating_point()), torch.float32)
    mode = contextlib.nullcontext() if training else evaluating(module)
    with mode, shapes_alone():
        state = _fake_state(module)
        parameters = {
            name: recorder.enter(
                t, depends=False, needs_gradient=t.requires_grad, parameter=name, data=real[name]
            )
            for name, t in state.items()
        }
        pictures = [_picture(i, dtype) for i in inputs]
        entered = tuple(recorder.enter(p, depends=True, needs_gradient=False) for p in pictures)
        own = {t.untyped_storage()._cdata for t in [*state.values(), *pictures]}
        try:
            with (
                torch.enable_grad(),
                torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
                _layers(module, recorder, calls),
                _FusedAttention(),
                recorder,
            ):
                outputs = torch.func.functional_call(module, state, tuple(pictures))
        except UserError:
            raise
        except Exception as error:  # the module's own, whatever its author raises
            raise _refusal(recorder.scope[-1] or type(module).__name__, pictures, error) from error
        if not any(isinstance(t, Tensor) for t in tree_leaves(outputs)):
            raise UserError(
                f"{type(module).__name__} gives no tensor", "a module that gives one was expected"
            )
        saved_bytes = sum(t.untyped_storage().nbytes() for key, t in saved.items() if key not in own)
        values = tuple(recorder.lookup(t) for t in tree_leaves(outputs) if isinstance(t, Tensor))
    return Tape(module, entered, values, tuple(recorder.operations), tuple(calls), parameters, saved_bytes)
