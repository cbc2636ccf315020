"""`caselli list [TABLE]`."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import Any

from caselli.errors import UnknownName

HOUSE = Path(__file__).parent.parent


def command(table: str = "") -> None:
    """Shows the variants that the rooms offer: mixers, quantizers, priors, recipes and so on.

    Arguments:
        table: a table such as mixer, or a room; all tables where none is given.
    """
    if not table:
        for room in rooms():
            for name, entries in tables(room).items():
                print(f"{singular(name):<18} {len(entries):>4}  caselli.{room}.{name}")
        return
    found = _found(table)
    for name, entries in found.items():
        if len(found) > 1:
            print(f"\n{name}")
        width = max(map(len, map(str, entries)))
        for key, entry in entries.items():
            print(f"{key!s:<{width}}  {_line(entry)}")


def rooms() -> list[str]:
    """Names of the rooms that show a table at their door, which nothing is imported for."""
    names = [path.parent.name for path in HOUSE.glob("*/__init__.py")]
    names += [path.stem for path in HOUSE.glob("*.py") if not path.stem.startswith("_")]
    return sorted(filter(_shown, names))


def tables(room: str) -> dict[str, dict[Any, Any]]:
    """Tables that a room shows at its door."""
    door = importlib.import_module(f"caselli.{room}")
    found = {name: getattr(door, name) for name in _shown(room)}
    return {name: entries for name, entries in found.items() if isinstance(entries, dict)}


def singular(table: str) -> str:
    """The word for one entry of a table.

    Example:
        >>> singular("VOCABULARIES"), singular("MIXERS")
        ('vocabulary', 'mixer')
    """
    word = table.lower()
    return word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s")


def _shown(room: str) -> list[str]:
    """Names in capitals at a room's door, read rather than imported: torch is slow to come."""
    door = HOUSE / room / "__init__.py" if (HOUSE / room).is_dir() else HOUSE / f"{room}.py"
    for node in ast.parse(door.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return [name for name in ast.literal_eval(node.value) if name.isupper()]
    return []


def _found(word: str) -> dict[str, dict[Any, Any]]:
    """The table of a name, in the singular or the plural, or all tables of a room."""
    for room in rooms():
        for name in _shown(room):
            if word in (singular(name), name.lower()) and name in tables(room):
                return {name: tables(room)[name]}
    if word in rooms() and tables(word):
        return tables(word)
    known = {singular(name) for room in rooms() for name in tables(room)}
    raise UnknownName("table", word, sorted(known | {room for room in rooms() if tables(room)}))


def _line(entry: Any) -> str:
    """The first paragraph of an entry's docstring; a plain value as it is."""
    entry = getattr(entry, "func", entry)
    documented = inspect.isclass(entry) or inspect.isroutine(entry)
    words = (inspect.getdoc(entry) or "") if documented else str(entry)
    return " ".join(words.split("\n\n")[0].split())
