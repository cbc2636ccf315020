"""Figures as JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from caselli.engine.tracker import Tracker


class JsonLines(Tracker):
    """JSON lines on standard output, for a program that reads them as they come.

    Each is `{"run", "stage", "split", "step", "seconds", ...figures}`; a figure that is not finite is null.
    """

    def __init__(self, folder: Path, stage: str, settings: Mapping[str, Any]) -> None:
        self.names = {"run": str(folder), "stage": stage}

    def figures(self, split: str, step: int, seconds: float, values: Mapping[str, float]) -> None:
        place = {"split": split, "step": step, "seconds": round(seconds, 2)}
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        print(json.dumps({**self.names, **place, **finite}), flush=True)
