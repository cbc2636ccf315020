"""Frozen records and plain data: the one converter, and fields by their dotted names.

Plain data are what JSON and YAML hold: dicts, lists, text, numbers, true, false and none. A field that was
renamed, `field(..., metadata={"formerly": "old_name"})`, is still known by its former name.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from caselli.errors import UnknownName, UserError

R = TypeVar("R")


def to_plain(value: Any) -> Any:
    """Plain data of a record and all that is in it: records as dicts, tuples as lists, paths as text.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Grid:
        ...     sides: tuple[int, ...] = (4, 4)
        >>> to_plain(Grid())
        {'sides': [4, 4]}
    """
    if dataclasses.is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def of_plain(kind: type[R], data: Any, name: str = "") -> R:
    """The record of a kind whose plain data these are; fields that they lack take their defaults.

    Arguments:
        kind: the record's class; its annotations say what the data become.
        data: a dict of its fields, or a record of the kind.
        name: the place of the data, for messages: their fields are called `name.field`.

    Errors: `UserError` that names the field: unknown, missing, or with a value of another type.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Grid:
        ...     sides: tuple[int, ...] = (4, 4)
        >>> of_plain(Grid, {"sides": [2, 3]})
        Grid(sides=(2, 3))
        >>> of_plain(Grid, {"sides": ["two"]}, "grid")
        Traceback (most recent call last):
        caselli.errors.UserError: grid.sides 'two' was given; int was expected
    """
    if isinstance(data, kind):
        return data
    if not isinstance(data, Mapping):
        raise UserError(f"{name or kind.__name__} {data!r} was given", "fields beneath it were expected")
    hints, prefix = typing.get_type_hints(kind), f"{name}." if name else ""
    given = {_field_of(kind, key, prefix, key): value for key, value in data.items()}
    for field in dataclasses.fields(kind):
        if field.name not in given and _is_required(field):
            raise UserError(f"no {prefix}{field.name} was given", "it has no default")
    return kind(**{key: _converted(value, hints[key], prefix + key) for key, value in given.items()})


def flatten(record: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted names of a record's fields, and their values.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Inner:
        ...     width: int = 8
        >>> @dataclasses.dataclass(frozen=True)
        ... class Outer:
        ...     inner: Inner = Inner()
        >>> flatten(Outer())
        {'inner.width': 8}
    """
    flat = {}
    for field in dataclasses.fields(record):
        value, name = getattr(record, field.name), prefix + field.name
        flat |= flatten(value, name + ".") if dataclasses.is_dataclass(value) else {name: value}
    return flat


def override(record: R, changes: Mapping[str, Any]) -> R:
    """The record with the fields of dotted names changed; a dict changes the fields that it names.

    All changes of a record are made at once, so that only the outcome has to be valid.

    Errors: `UserError` for an unknown name or a value of another type.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Prior:
        ...     width: int = 8
        ...     options: dict[str, Any] = dataclasses.field(default_factory=dict)
        >>> override(Prior(), {"width": 128, "options.heads": 4})
        Prior(width=128, options={'heads': 4})
    """
    return _overridden(record, list(changes.items()), "")


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


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _field_of(kind: type, key: str, prefix: str, asked: str) -> str:
    """The field that a name means: its own, or the one that its metadata say it had formerly."""
    known = {field.name: field.name for field in dataclasses.fields(kind)}
    former = {field.metadata.get("formerly"): field.name for field in dataclasses.fields(kind)}
    if key not in former | known:
        raise UnknownName("field", prefix + asked, [prefix + name for name in sorted(known)])
    return (former | known)[key]


def _overridden(record: Any, changes: list[tuple[str, Any]], prefix: str) -> Any:
    hints, by_field = typing.get_type_hints(type(record)), {}
    for dotted, value in changes:
        head, _, rest = dotted.partition(".")
        by_field.setdefault(_field_of(type(record), head, prefix, dotted), []).append((rest, value))
    new = {k: _changed(getattr(record, k), hints[k], own, prefix + k) for k, own in by_field.items()}
    return dataclasses.replace(record, **new)


def _changed(old: Any, kind: Any, changes: list[tuple[str, Any]], name: str) -> Any:
    """A field after changes of itself (an empty name beneath it) or of what is beneath it."""
    if dataclasses.is_dataclass(old):
        beneath = []
        for rest, value in changes:
            if not rest and not isinstance(value, Mapping):
                raise UserError(f"{name} {value!r} was given", "fields beneath it were expected")
            beneath += [(rest, value)] if rest else value.items()
        return _overridden(old, beneath, name + ".")
    for rest, value in changes:
        old = _placed(old, rest.split("."), value, name) if rest else _converted(value, kind, name)
    return old


def _placed(options: Any, path: list[str], value: Any, name: str) -> dict[str, Any]:
    """A dict with a value at a path in it."""
    if not isinstance(options, Mapping):
        raise UserError(f"field '{name}.{'.'.join(path)}' was given", f"{name!r} is a plain value")
    head, *rest = path
    return {**options, head: _placed(options.get(head, {}), rest, value, f"{name}.{head}") if rest else value}


def _converted(value: Any, kind: Any, name: str) -> Any:
    """The value as an annotation says: a list for one item, a float for an integer, text for a number."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _alternative(value, arguments, name)
    if origin is typing.Literal:
        if _is(value, kind):
            return value
        known = ", ".join(map(repr, arguments))
        raise UserError(f"{name} {value!r} was given", f"one of {known} was expected")
    if origin in (list, tuple):
        return _sequence(value, origin, arguments, name)
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {key: _converted(part, arguments[1], f"{name}.{key}") for key, part in value.items()}
    if dataclasses.is_dataclass(kind):
        return of_plain(kind, value, name)
    return _scalar(value, origin or kind, name)


def _alternative(value: Any, kinds: tuple[Any, ...], name: str) -> Any:
    """As the first alternative that the value already is, else the first that it can become."""
    if value is None and types.NoneType in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not types.NoneType)
    for kind in sorted(kinds, key=lambda kind: not _is(value, kind)):
        try:
            return _converted(value, kind, name)
        except UserError:
            if len(kinds) == 1:
                raise
    expected = " or ".join(_word(kind) for kind in kinds)
    raise UserError(f"{name} {value!r} was given", f"{expected} was expected")


def _sequence(value: Any, origin: type, arguments: tuple[Any, ...], name: str) -> Any:
    items = value if isinstance(value, list | tuple) else [value]
    if origin is tuple and arguments[-1] is not ...:
        if len(items) != len(arguments):
            raise UserError(f"{name} {value!r} was given", f"{len(arguments)} values were expected")
        kinds = arguments
    else:
        kinds = (arguments[0],) * len(items)
    return origin(_converted(item, kind, name) for item, kind in zip(items, kinds, strict=True))


def _scalar(value: Any, kind: Any, name: str) -> Any:
    if _is(value, kind):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number:
        return float(value)
    if kind is str and isinstance(value, int | float):
        return str(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise UserError(f"{name} {value!r} was given", f"{_word(kind)} was expected")


def _is(value: Any, kind: Any) -> bool:
    """True for a value of a kind; a list counts as a tuple, a dict as a record, and true as no number."""
    if typing.get_origin(kind) is typing.Literal:
        return value in typing.get_args(kind)
    kind = typing.get_origin(kind) or kind
    if kind is Any:
        return True
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return True
    if kind in (list, tuple):
        return isinstance(value, list | tuple)
    return isinstance(value, kind) and (not isinstance(value, bool) or kind is bool)


def _word(kind: Any) -> str:
    return str(kind) if typing.get_origin(kind) else getattr(kind, "__name__", str(kind))
