"""The studio: the runs of a folder in a web page on this machine. Needs the `studio` extra.

Nothing heavy is imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import Any

_FILES = {"create_app": "app", "serve": "serving", "Jail": "jail", "Studio": "context"}
"""Public name → the file of this room that has it."""

__all__ = ["Jail", "Studio", "create_app", "serve"]


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module 'caselli.studio' has no attribute {name!r}")
    return getattr(importlib.import_module(f"caselli.studio.{_FILES[name]}"), name)
