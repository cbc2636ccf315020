"""Docstrings stand alone: none begins as the rest of a phrase whose beginning is the name above it."""

from __future__ import annotations

import ast
from pathlib import Path

import caselli

FILES = sorted(Path(caselli.__file__).parent.rglob("*.py"))


def docstrings(path: Path) -> list[str]:
    """Docstrings of a file: of modules, classes, functions, fields and constants."""
    nodes = [n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Expr)]
    return [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]


BEGINNINGS = ("Of ", "What ", "What,", "How ", "Whether ", "The same", "Those ", "Which:")
"""First words of a docstring that leans on the name above it, or on its neighbour."""


def test_docstrings_are_noun_phrases_or_sentences():
    assert not [(path, text) for path in FILES for text in docstrings(path) if text.startswith(BEGINNINGS)]
