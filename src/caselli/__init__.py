"""Pictures become discrete codes, a sequence model learns the codes, new codes become new pictures.

The door of the package: `caselli.load(run)` gives a trained model, `caselli.train(...)` makes one, and every
room (`caselli.ops`, `caselli.mixer`, `caselli.quantizer`, ...) is a module of its own. Nothing heavy is
imported until it is used.
"""

from __future__ import annotations

import importlib
from typing import Any

from caselli.version import __version__

_LAZY = {
    "from_pretrained": "caselli.run",
    "load": "caselli.run",
    "Model": "caselli.model",
    "train": "caselli.run",
    "tune": "caselli.run",
}

__all__ = ["Model", "__version__", "from_pretrained", "load", "train", "tune"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    try:
        return importlib.import_module(f"caselli.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"caselli.{name}":
            raise
        raise AttributeError(f"module 'caselli' has no attribute {name!r}") from None
