"""Records every operation that reaches torch's dispatcher, in-place ones and views included."""

from __future__ import annotations

from typing import Any

import torch

from caselli.anatomy.tape import Operation, Overwrite, Value
from caselli.errors import UserError
from caselli.private import DispatchMode, tree_leaves, tree_map
from caselli.shapes import Tensor

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


class TapeRecorder(DispatchMode):
    """Records every operation. It knows tensors by identity, and so keeps them alive."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[int, Value] = {}
        self.alive: list[Tensor] = []
        self.operations: list[Operation] = []
        self.scope: list[str] = [""]
        self.views: list[Value] = []
        self.stale: set[Value] = set()

    def enter(self, tensor: Tensor, **facts: Any) -> Value:
        """Enters a tensor that no operation made."""
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
            self._write(function, tree_map(self.lookup, (args, kwargs)), args, kwargs, result)
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
        for slot, tensor in enumerate(t for t in tree_leaves(result) if isinstance(t, Tensor)):
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


def _has_base(value: Value, root: Value) -> bool:
    while value.base is not None:
        value = value.base
        if value is root:
            return True
    return False
