"""For each elementary operation, which elements of its inputs an element of its output depends on.

`RULES` maps the name of an operation (of `torch.ops.aten`) to a function of `(operation, slot)` that gives
`(input, relation)` pairs for the output number `slot`. `register_rule` adds to it.
"""

from caselli.anatomy.rules import mixing, pointwise, resizing, shaping, windows
from caselli.anatomy.rules.registry import RULES, Dependency, dependencies, register_rule

__all__ = [
    "RULES",
    "Dependency",
    "dependencies",
    "mixing",
    "pointwise",
    "register_rule",
    "resizing",
    "shaping",
    "windows",
]
