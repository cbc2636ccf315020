"""The record of a module's forward pass: values, operations, calls of layers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import nn

from caselli.errors import UnknownName, UserError
from caselli.private import tree_leaves, tree_map
from caselli.shapes import Tensor


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """A tensor of the tape: an input, a parameter, a constant, or the output of an operation."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    depends: bool
    """True where it follows from the inputs; otherwise it is a constant."""
    needs_gradient: bool
    operation: Operation | None = None
    """The operation that made it; none for inputs, parameters and captured constants."""
    slot: int = 0
    """Its number among the operation's outputs."""
    parameter: str = ""
    """The name in the module's state, if it is a parameter or buffer."""
    data: Tensor | None = None
    """The numbers of a parameter, buffer or captured constant."""
    base: Value | None = None
    """The value that it is a view of."""

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


def plain_name(function: Any) -> str:
    """Name of an operation without namespace and overload; in-place ones without the underscore."""
    name = function.overloadpacket.__name__
    return name if name.endswith("__") else name.rstrip("_")


@dataclasses.dataclass(eq=False)
class Operation:
    """One call of an elementary operation."""

    name: str
    """By `plain_name`."""
    function: Any
    """The `torch.ops.aten` overload."""
    args: tuple
    kwargs: dict[str, Any]
    layer: str
    """The path of the module in which it was called, "" for the outermost."""
    outputs: tuple[Value, ...] = ()

    @property
    def place(self) -> str:
        """Layer and operation in words."""
        return f"{self.layer or 'the module itself'}: {self.name}"

    @property
    def in_place(self) -> bool:
        """True where its first input is written to, and is its output."""
        return self.function is not None and self.function.overloadpacket.__name__.endswith("_")

    def arguments(self) -> dict[str, Any]:
        """Every argument by its name in the schema, defaults filled in; tensors are `Value`s."""
        schema = self.function._schema.arguments
        bound = {argument.name: argument.default_value for argument in schema}
        bound.update(zip([argument.name for argument in schema], self.args, strict=False))
        return bound | self.kwargs

    def inputs(self) -> list[Value]:
        """The tensors that it reads, in order."""
        return [a for a in tree_leaves((self.args, self.kwargs)) if isinstance(a, Value)]

    def run(self) -> list[Tensor]:
        """The outputs' numbers, from constants."""
        args, kwargs = tree_map(
            lambda a: a.constant() if isinstance(a, Value) else a, (self.args, self.kwargs)
        )
        return [t for t in tree_leaves(self.function(*args, **kwargs)) if isinstance(t, Tensor)]


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
        """True for a module without modules inside."""
        return next(self.module.children(), None) is None


@dataclasses.dataclass(frozen=True)
class Tape:
    """The forward pass of a module on inputs of given shapes."""

    module: nn.Module
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    operations: tuple[Operation, ...]
    calls: tuple[LayerCall, ...]
    parameters: dict[str, Value]
    saved_bytes: int
    """Bytes of the forward pass that a backward pass keeps, without parameters and inputs."""

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
