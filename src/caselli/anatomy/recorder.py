"""Records every operation that reaches torch's dispatcher, in-place ones and views included."""

from __future__ import annotations

from typing import Any

import torch

from caselli.anatomy.tape import Operation, Overwrite, Value, plain_name
from caselli.private import READS_A_NUMBER, DispatchMode, numbers_too, tree_leaves, tree_map
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


class TapeRecorder(DispatchMode):
    """Records every operation. It knows tensors by identity, and so keeps them alive."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[int, Value] = {}
        self.alive: list[Tensor] = []
        self.operations: list[Operation] = []
        self.scope: list[str] = [""]
        self.views: dict[Value, list[Value]] = {}
        """Views by the value whose memory they lie in."""
        self.before: dict[Value, Value] = {}
        """Value that was written in place → the one that stood there."""
        self.after: dict[Value, Value] = {}
        """The reverse, of whole tensors: of those that are views of nothing."""
        self.stale: set[Value] = set()
        """Views of what was since written to."""

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
            self.stale.discard(value)
            self._replace(value, self._viewed_again(value))
        return self.values[id(leaf)]

    def _bind(self, tensor: Tensor, value: Value) -> Value:
        self.values[id(tensor)] = value
        self.alive.append(tensor)
        return value

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is READS_A_NUMBER and not self.lookup(args[0]).depends:
            with numbers_too():
                return self.lookup(args[0]).constant().item()
        result = function(*args, **kwargs)
        if function._schema.name not in SILENT:
            self._write(function, tree_map(self.lookup, (args, kwargs)), args, kwargs, result)
        return result

    def _write(self, function, names, args, kwargs, result) -> None:
        name = plain_name(function)
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
                self._enter_view(new)
            if old is not None and function._schema.is_mutable:
                self._replace(old, new)
                self.before[new] = old
                self._write_through(old, new)
        operation.outputs = tuple(outputs)

    def _replace(self, old: Value, new: Value) -> None:
        self.values.update({key: new for key, held in self.values.items() if held is old})

    def _place(self, value: Value) -> tuple[Value, list[Value]]:
        """The tensor in whose memory a value lies, as it was made, and the views that lead from it there."""
        views: list[Value] = []
        while value.base is not None or value in self.before:
            if value.base is not None:
                views.insert(0, value)
            value = value.base or self.before[value]
        return value, views

    def _enter_view(self, view: Value) -> None:
        self.views.setdefault(self._place(view)[0], []).append(view)

    def _now(self, root: Value) -> Value:
        while root in self.after:
            root = self.after[root]
        return root

    def _write_through(self, old: Value, new: Value) -> None:
        """`old` was written to in place: so was the tensor in whose memory it lies; other views go stale."""
        root, views = self._place(old)
        known = self.views.setdefault(root, [])
        self.stale.update(view for view in known if view is not old)
        now = self._now(root)
        if not views:
            self.after[now] = new
            return
        known.append(new)
        overwrite = Overwrite(now, new, tuple(views), self.scope[-1])
        facts = (now.depends or new.depends, now.needs_gradient or new.needs_gradient, overwrite)
        value = Value(now.shape, now.dtype, *facts)
        overwrite.outputs = (value,)
        self.operations.append(overwrite)
        self._replace(now, value)
        self.before[value], self.after[now] = now, value

    def _viewed_again(self, view: Value) -> Value:
        """The view, made anew of the tensor as it is now."""
        root, views = self._place(view)
        value = self._now(root)
        for each in views:
            old = each.operation
            operation = Operation(old.name, old.function, (value, *old.args[1:]), old.kwargs, self.scope[-1])
            self.operations.append(operation)
            facts = (value.depends, value.needs_gradient, operation)
            operation.outputs = tuple(
                Value(output.shape, output.dtype, *facts, slot, base=value)
                for slot, output in enumerate(old.outputs)
            )
            value = operation.outputs[each.slot]
        self.views[root].append(value)
        return value
