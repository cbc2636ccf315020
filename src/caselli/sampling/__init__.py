"""Drawing codes from any prior: the options, the noise, and the engines that run the steps.

`Sampling` needs no torch; the rest is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from caselli.sampling.options import AS_LEARNED, Sampling

_FILES = {
    "ENGINES": "engines",
    "WEIGHT_PRECISIONS": "rounding",
    "EagerEngine": "eager",
    "Engine": "base",
    "FusedEngine": "fused",
    "GraphEngine": "graph",
    "GuidedEngine": "guided",
    "PackedEngine": "packed",
    "SeededDrawing": "drawing",
    "SpeculativeEngine": "speculative",
    "StraightEngine": "straight",
    "Timed": "pace",
    "Unavailable": "base",
    "best_engine": "engines",
    "read_rate": "pace",
    "rounded": "rounding",
    "sample": "draw",
    "uniform_noise": "choice",
}
"""Public name → the file of this room that has it, and imports torch."""

__all__ = [
    "AS_LEARNED",
    "ENGINES",
    "WEIGHT_PRECISIONS",
    "EagerEngine",
    "Engine",
    "FusedEngine",
    "GraphEngine",
    "GuidedEngine",
    "PackedEngine",
    "Sampling",
    "SeededDrawing",
    "SpeculativeEngine",
    "StraightEngine",
    "Timed",
    "Unavailable",
    "best_engine",
    "read_rate",
    "rounded",
    "sample",
    "uniform_noise",
]


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module 'caselli.sampling' has no attribute {name!r}")
    return getattr(importlib.import_module(f"caselli.sampling.{_FILES[name]}"), name)
