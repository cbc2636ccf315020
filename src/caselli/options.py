"""Which options a class takes, for configuration by name."""

from __future__ import annotations

import inspect


def options_of(kind: type) -> list[str]:
    """Names of the keyword arguments of a class, those that it passes on to its parents included.

    Example:
        >>> class Parent:
        ...     def __init__(self, width, *, heads=1): ...
        >>> class Child(Parent):
        ...     def __init__(self, width, *, window=8, **options): ...
        >>> options_of(Child)
        ['window', 'heads']
    """
    names: list[str] = []
    for parent in kind.__mro__:
        if "__init__" not in vars(parent):
            continue
        parameters = inspect.signature(parent.__init__).parameters.values()
        names += [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in names]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names
