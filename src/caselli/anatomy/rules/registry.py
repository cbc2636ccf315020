"""The table of rules, and how to add to it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from caselli.anatomy.relation import Relation, same
from caselli.anatomy.tape import Operation, Value
from caselli.errors import UserError

Dependency = tuple[Value, Relation]
"""An input of an operation, and what its output sees of it."""

Rule = Callable[[Operation, int], list[Dependency]]

RULES: dict[str, Rule] = {}
"""Name of an operation → its rule."""


def register_rule(*names: str) -> Callable[[Rule], Rule]:
    """Makes the decorated function the rule of the operations of these names.

    Arguments:
        names: as in `torch.ops.aten` (or the name of your own `torch.library` operation), without overload.

    Example:
        >>> from caselli.anatomy.relation import same
        >>> @register_rule("my_activation")
        ... def my_activation(operation, slot):
        ...     x = operation.inputs()[0]
        ...     return [(x, same(x.shape, operation.outputs[slot].shape))]
        >>> _ = RULES.pop("my_activation")
    """

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def elementwise(operation: Operation, slot: int) -> list[Dependency]:
    """Each output sees the same place of every input, broadcast."""
    out = operation.outputs[slot].shape
    return [(value, same(value.shape, out)) for value in operation.inputs()]


def dependencies(operation: Operation, slot: int) -> list[Dependency]:
    """The dependencies of output number `slot` on the operation's inputs that follow from the picture.

    Raises:
        UserError: for an operation without a rule, with its name and the way to add one.
    """
    rule = RULES.get(operation.name)
    if rule is None and operation.function is not None and torch.Tag.pointwise in operation.function.tags:
        rule = elementwise
    if rule is None:
        raise UserError(
            f"{operation.place} is an operation without a rule",
            remedy=f'give it a rule with @caselli.anatomy.register_rule("{operation.name}")',
        )
    return [(value, relation) for value, relation in rule(operation, slot) if value.depends]
