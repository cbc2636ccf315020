"""The gallery: every method of the rooms' tables with a picture that is made here, or in words."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import drawings
import torch

from caselli.cli.list import rooms, singular, tables

FOLDER = Path(__file__).parent.parent / "gallery"
TITLES = {
    "MIXERS": "Mixers",
    "QUANTIZERS": "Quantizers",
    "PRIORS": "Priors",
    "ORDERS": "Orders",
    "ARCHITECTURES": "Architectures of tokenizers",
    "ESTIMATORS": "Gradient estimators",
    "DIVERGENCES": "Divergences",
    "UPSAMPLERS": "Ways up in size",
    "DOWNSAMPLERS": "Ways down in size",
    "DISCRIMINATORS": "Discriminators",
    "ENGINES": "Engines of sampling",
    "COMPARISONS": "Comparisons",
    "NETWORKS": "Networks of the zoo",
    "TRACKERS": "Trackers",
}
"""The tables that the gallery shows, in this order."""


def write(app: Any) -> None:
    """Writes the page, and the pictures of methods that are new or changed."""
    FOLDER.mkdir(exist_ok=True)
    found = {name: entries for room in rooms() for name, entries in tables(room).items() if name in TITLES}
    parts = ["# Gallery\n\nEvery method that the rooms' tables name, drawn by one experiment a table."]
    for name, title in TITLES.items():
        draw = drawings.DRAWINGS.get(name)
        shown = [
            drawn(name, key, kind, draw) if draw else told(key, kind) for key, kind in found[name].items()
        ]
        legend = [" ".join(inspect.getdoc(draw).split())] if draw else []
        parts += ["\n\n".join([f"## {title}", *legend]), ("\n\n" if draw else "\n").join(shown)]
    text = "\n\n".join(parts) + "\n"
    path = FOLDER / "index.md"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def drawn(table: str, key: str, kind: Any, draw: Callable[[Any], Any]) -> str:
    """A figure: a method's picture above its name and its first sentence."""
    path = FOLDER / f"{singular(table)}-{key}.png"
    sources = [Path(drawings.__file__), Path(inspect.getfile(kind))]
    if not path.exists() or path.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            draw(kind).save(path)
    words = f"{name_of(key, kind)}: {sentence(kind)}"
    return f":::{{figure}} {path.name}\n:figclass: method\n:alt: {singular(table)} {key}\n\n{words}\n:::"


def told(key: str, kind: Any) -> str:
    """An item of a list: a method's name and its first sentence."""
    return f"- {name_of(key, kind)}: {sentence(kind)}"


def name_of(key: str, kind: Any) -> str:
    """A method's name in its table, leading to its page in the reference."""
    kind = getattr(kind, "func", kind)
    return f"{{py:obj}}`{key} <caselli.{kind.__module__.split('.')[1]}.{kind.__name__}>`"


def sentence(kind: Any) -> str:
    """The first sentence of a method's docstring."""
    words = " ".join((inspect.getdoc(getattr(kind, "func", kind)) or "").split("\n\n")[0].split())
    return words.replace("*", r"\*").replace("|", r"\|")


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
