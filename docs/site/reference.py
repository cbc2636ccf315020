"""The reference: a page for each room, from the docstrings at its door; and the tree of all pages."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import caselli

FOLDER = Path(__file__).parent.parent / "reference"
HIDDEN = {"cli", "studio", "version", "private", "shapes", "markdown"}
"""Rooms that nobody calls from Python, or that have nothing to call."""
PLAIN = ("attribute", "data", "property")
"""Objects whose docstrings are one paragraph: a colon in it is a colon."""
KEPT: dict[str, list[str]] = {}
"""Docstrings that wait while napoleon reads the others."""


def rooms() -> list[str]:
    """Rooms with names at their door."""
    names = [module.name for module in pkgutil.iter_modules(caselli.__path__)]
    return [name for name in names if not name.startswith("_") and name not in HIDDEN]


def page(room: str) -> str:
    """The Markdown of a room's page."""
    module = importlib.import_module(f"caselli.{room}")
    lines = [f".. automodule:: caselli.{room}"]
    lines += ["   :imported-members:"] * hasattr(module, "__all__")  # else what it imports would be shown
    return f"# caselli.{room}\n\n```{{eval-rst}}\n" + "\n".join(lines) + "\n```\n"


def write(app: Any) -> None:
    """Writes the pages, those that changed."""
    FOLDER.mkdir(exist_ok=True)
    found = rooms()
    listed = "\n".join(found)
    words = "A page for each room: the names at its door, from their docstrings."
    pages = {"index": f"# Reference\n\n{words}\n\n```{{toctree}}\n{listed}\n```\n"}
    pages |= {room: page(room) for room in found}
    for old in FOLDER.glob("*.md"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        path = FOLDER / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def add_tree(app: Any, name: str, source: list[str]) -> None:
    """Behind the guide's table of pages, the tree of the side bar: the same pages in the same order."""
    if name == "index":
        pages = re.findall(r"\]\(([\w/]+)\.md\)", source[0])
        tree = "\n".join([*pages, "gallery/index", "reference/index"])
        source[0] += f"\n```{{toctree}}\n:hidden:\n\n{tree}\n```\n"


def keep(app: Any, what: str, name: str, _: Any, options: Any, lines: list[str]) -> None:
    """Before napoleon: letters that the markup would take for its own are letters."""
    lines[:] = escaped(lines)
    if what in PLAIN:
        KEPT[name], lines[:] = lines[:], []


def give_back(app: Any, what: str, name: str, _: Any, options: Any, lines: list[str]) -> None:
    """Behind napoleon: the docstrings that it was not to read."""
    if what in PLAIN:
        lines[:] = KEPT.pop(name)


def escaped(lines: list[str]) -> list[str]:
    """Lines of a docstring with stars, bars and last underscores escaped, but not in code and formulas.

    Example:
        >>> escaped(["B *S and |x|, `*S`", ">>> 2 * 3"])
        ['B \\\\*S and \\\\|x\\\\|, `*S`', '>>> 2 * 3']
    """
    found, code = [], None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if code is not None and line.strip() and indent <= code:
            code = None
        if line.lstrip().startswith((".. ", ">>>")):
            code = indent - line.lstrip().startswith(">>>")
        if code is None:
            parts = re.split(r"(:\w+:`[^`]*`|``?[^`]*``?)", line)
            parts[::2] = [re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
            line = "".join(parts)
        found.append(line)
    return found


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", write)
    app.connect("source-read", add_tree)
    app.connect("autodoc-process-docstring", keep, priority=400)
    app.connect("autodoc-process-docstring", give_back, priority=600)
    return {"parallel_read_safe": True}
