"""What a module does, written down without doing it: every elementary operation, with shapes and no data.

The module runs on fake tensors, which have a shape and no memory, while each operation that reaches torch's
dispatcher is recorded: functional calls, views and in-place ones included. `torch.export` records by the same
means; a plain tape needs none of its guards, and takes milliseconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from caselli.errors import UnknownName, UserError
from caselli.shapes import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the tape: an input, a parameter, a constant, or the output of an operation."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    depends: bool
    """Whether it follows from the inputs; what does not is a constant."""
    needs_gradient: bool
    operation: Operation | None = None
    """What made it; none for inputs, parameters and captured constants."""
    slot: int = 0
    """Which of the operation's outputs it is."""
    parameter: str = ""
    """The name in the module's state, if it is a parameter or buffer."""
    data: Tensor | None = None
    """The numbers of a parameter, buffer or captured constant."""
    base: Value | None = None
    """What it is a view of."""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.itemsize

    def constant(self) -> Tensor:
        """The numbers of a value that does not follow from the inputs: its operations are run on the spot."""
        if self.data is not None:
            return self.data
        assert not self.depends and self.operation is not None, "only constants have numbers"
        return self.operation.run()[self.slot]


@dataclasses.dataclass(eq=False)
class Operation:
    """One call of an elementary operation."""

    name: str
    """Without namespace and overload; in-place ones without the underscore."""
    function: Any
    """The `torch.ops.aten` overload."""
    args: tuple
    kwargs: dict[str, Any]
    layer: str
    """The path of the module in which it was called, "" for the outermost."""
    outputs: tuple[Value, ...] = ()

    @property
    def place(self) -> str:
        """What a person would look for: the layer and the operation."""
        return f"{self.layer or 'the module itself'}: {self.name}"

    @property
    def in_place(self) -> bool:
        """Whether its first input is written to, and is its output."""
        return self.function is not None and self.function.overloadpacket.__name__.endswith("_")

    def arguments(self) -> dict[str, Any]:
        """Every argument by its name in the schema, defaults filled in; tensors are `Value`s."""
        schema = self.function._schema.arguments
        bound = {argument.name: argument.default_value for argument in schema}
        bound.update(zip([argument.name for argument in schema], self.args, strict=False))
        return bound | self.kwargs

    def inputs(self) -> list[Value]:
        """The tensors that it reads, in order."""
        return [a for a in pytree.tree_leaves((self.args, self.kwargs)) if isinstance(a, Value)]

    def run(self) -> list[Tensor]:
        """The outputs' numbers, from constants."""
        args, kwargs = pytree.tree_map(
            lambda a: a.constant() if isinstance(a, Value) else a, (self.args, self.kwargs)
        )
        return [t for t in pytree.tree_leaves(self.function(*args, **kwargs)) if isinstance(t, Tensor)]


class Overwrite(Operation):
    """A write through a view, seen from the view's base.

    `args` are the base before, what was written, and the views that lead from the base to the place.
    """

    def __init__(self, before: Value, written: Value, views: tuple[Value, ...], layer: str) -> None:
        super().__init__("overwrite", None, (before, written, views), {}, layer)

    def arguments(self) -> dict[str, Any]:
        return dict(zip(("before", "written", "views"), self.args, strict=True))

    def run(self) -> list[Tensor]:
        before, written, views = self.args
        place = result = before.constant().clone()
        for view in views:
            place = view.operation.function(place, *view.operation.args[1:], **view.operation.kwargs)
        place.copy_(written.constant())
        return [result]


@dataclasses.dataclass(frozen=True)
class LayerCall:
    """A module that was called: its path, itself, and the values that went in and out."""

    path: str
    module: nn.Module
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @property
    def is_leaf(self) -> bool:
        """Whether it has no modules inside."""
        return next(self.module.children(), None) is None


@dataclasses.dataclass(frozen=True)
class Tape:
    """All that a module did on inputs of given shapes."""

    module: nn.Module
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    operations: tuple[Operation, ...]
    calls: tuple[LayerCall, ...]
    parameters: dict[str, Value]
    saved_bytes: int
    """What a backward pass keeps of the forward pass; parameters and inputs are left out."""

    def call(self, path: str) -> LayerCall:
        """The last call of the module at `path`."""
        for call in reversed(self.calls):
            if call.path == path:
                return call
        raise UnknownName("layer", path, dict.fromkeys(call.path for call in self.calls))

    def value(self, path: str | None) -> Value:
        """The first output of the module at `path`; of the whole module for `None`."""
        outputs = self.outputs if path is None else self.call(path).outputs
        if not outputs:
            raise UserError(f"layer {path!r} was given", "one that returns a tensor was expected")
        return outputs[0]


SILENT = {"prim::device", "prim::layout", "aten::sym_size", "aten::sym_stride", "aten::is_contiguous"}
"""Questions about a tensor, which do nothing."""


SHAPE_ONLY = {
    *("new_empty", "new_zeros", "new_ones", "new_full", "empty_like", "zeros_like", "ones_like", "full_like"),
    *("rand_like", "randn_like", "randint_like", "zero", "fill", "bernoulli", "normal", "uniform"),
}
"""Operations that take a tensor's shape and none of its numbers."""

ALIASES = {"detach", "alias", "lift_fresh"}
"""Operations that give the same tensor again."""


def _plain_name(function: Any) -> str:
    name = function.overloadpacket.__name__
    return name if name.endswith("__") else name.rstrip("_")


class _Recorder(TorchDispatchMode):
    """Writes every operation down. It knows tensors by identity, and so keeps them alive."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[int, Value] = {}
        self.alive: list[Tensor] = []
        self.operations: list[Operation] = []
        self.scope: list[str] = [""]
        self.views: list[Value] = []
        self.stale: set[Value] = set()

    def enter(self, tensor: Tensor, **facts: Any) -> Value:
        """A tensor that no operation made."""
        return self._bind(tensor, Value(tuple(tensor.shape), tensor.dtype, **facts))

    def lookup(self, leaf: Any) -> Any:
        """The value of a tensor; anything else as it is."""
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) not in self.values:  # captured by the module's code
            self.enter(leaf, depends=False, needs_gradient=False, data=leaf)
        value = self.values[id(leaf)]
        if value in self.stale:
            raise UserError(
                f"{self.scope[-1] or 'the module'} reads a view of what was since written to in place",
                "views that are made after the write were expected",
                "write it without the in-place operation",
            )
        return value

    def _bind(self, tensor: Tensor, value: Value) -> Value:
        self.values[id(tensor)] = value
        self.alive.append(tensor)
        return value

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function._schema.name not in SILENT:
            self._write(function, pytree.tree_map(self.lookup, (args, kwargs)), args, kwargs, result)
        return result

    def _write(self, function, names, args, kwargs, result) -> None:
        name = _plain_name(function)
        if name in ALIASES and isinstance(result, Tensor) and not names[0][0].needs_gradient:
            self._bind(result, names[0][0])
            return
        operation = Operation(name, function, *names, self.scope[-1])
        inputs = operation.inputs()
        self.operations.append(operation)
        depends = operation.name not in SHAPE_ONLY and any(value.depends for value in inputs)
        gradient = torch.is_grad_enabled() and any(value.needs_gradient for value in inputs)
        base = inputs[0] if function.is_view and inputs else None
        outputs = []
        for slot, tensor in enumerate(t for t in pytree.tree_leaves(result) if isinstance(t, Tensor)):
            old = self.values.get(id(tensor))
            facts = (depends, gradient and tensor.is_floating_point(), operation, slot)
            new = self._bind(tensor, Value(tuple(tensor.shape), tensor.dtype, *facts, base=base))
            outputs.append(new)
            if base is not None:
                self.views.append(new)
            if old is not None and function._schema.is_mutable:
                self.values.update({key: new for key, held in self.values.items() if held is old})
                self._write_through(old, new)
        operation.outputs = tuple(outputs)

    def _write_through(self, old: Value, new: Value) -> None:
        """`old` was written to in place: so was what it is a view of, and every other view goes stale."""
        views = [old]
        while views[-1].base is not None:
            views.append(views[-1].base)
        root = views.pop()
        self.stale |= {v for v in self.views if v is not new and v is not old and _has_base(v, root)}
        if not views:
            return
        overwrite = Overwrite(root, new, tuple(reversed(views)), self.scope[-1])
        facts = (root.depends or new.depends, root.needs_gradient or new.needs_gradient, overwrite)
        value = Value(root.shape, root.dtype, *facts)
        overwrite.outputs = (value,)
        self.operations.append(overwrite)
        self.values.update({key: value for key, held in self.values.items() if held is root})


class _FusedAttention(TorchFunctionMode):
    """Lays attention's tensors out so that torch keeps it one operation, whose mask can then be followed."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is not F.scaled_dot_product_attention or len(args) < 3:
            return function(*args, **kwargs)
        query, key, value = (tensor.contiguous() for tensor in args[:3])
        if query.dim() != 3:
            return function(query, key, value, *args[3:], **kwargs)
        return function(query[:, None], key[:, None], value[:, None], *args[3:], **kwargs)[:, 0]


def _has_base(value: Value, root: Value) -> bool:
    while value.base is not None:
        value = value.base
        if value is root:
            return True
    return False


@contextlib.contextmanager
def _layers(module: nn.Module, recorder: _Recorder, calls: list[LayerCall]) -> Iterator[None]:
    """Writes the modules' calls down as long as it lasts, by hooks that are taken away afterwards."""
    handles = []

    def known(tree: Any) -> tuple[Value, ...]:
        return tuple(recorder.lookup(t) for t in pytree.tree_leaves(tree) if isinstance(t, Tensor))

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


def record(module: nn.Module, *inputs: Tensor | tuple[int, ...], training: bool = False) -> Tape:
    """Records what a module does with inputs of the given shapes; no data is touched, nothing computed.

    Arguments:
        module: any module, on any device ("meta" included).
        inputs: the shapes of its tensor arguments, batch first (of the parameters' dtype), or examples.
        training: whether the module is in training mode meanwhile.

    Raises:
        UserError: if the module's path depends on the data (`if x.sum() > 0`): there is no one answer.

    Example:
        >>> tape = record(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), (1, 3, 8, 8))
        >>> [operation.name for operation in tape.operations], tape.outputs[0].shape
        (['convolution', 'relu'], (1, 8, 6, 6))
    """
    recorder, calls, saved = _Recorder(), [], {}

    def keep(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    real = {name: t.detach() for name, t in [*module.named_parameters(), *module.named_buffers()]}
    dtype = next((t.dtype for t in real.values() if t.is_floating_point()), torch.float32)
    mode = contextlib.nullcontext() if training else evaluating(module)
    with mode, FakeTensorMode(allow_non_fake_inputs=True):
        state = _fake_state(module)
        parameters = {
            name: recorder.enter(
                t, depends=False, needs_gradient=t.requires_grad, parameter=name, data=real[name]
            )
            for name, t in state.items()
        }
        pictures = [
            torch.empty(i.shape, dtype=i.dtype) if isinstance(i, Tensor) else torch.empty(i, dtype=dtype)
            for i in inputs
        ]
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
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise UserError(
                f"{recorder.scope[-1] or type(module).__name__} asks for numbers ({error.func})",
                "a path that does not depend on the data was expected",
                "analyse the parts on either side of it",
            ) from error
        saved_bytes = sum(t.untyped_storage().nbytes() for key, t in saved.items() if key not in own)
        values = tuple(recorder.lookup(t) for t in pytree.tree_leaves(outputs) if isinstance(t, Tensor))
    return Tape(module, entered, values, tuple(recorder.operations), tuple(calls), parameters, saved_bytes)
