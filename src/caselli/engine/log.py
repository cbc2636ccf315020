"""The log of a run: one JSON object a line, and what is said on the terminal."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from caselli import ranks
from caselli.files import append_line, write_text


class Log:
    """`log.jsonl` of a run folder.

    Lines are `{"stage", "split", "step", "seconds", ...figures}` with split `train`, `validation` or
    `message`. Only the first rank writes and speaks.
    """

    def __init__(self, folder: str | Path, stage: str) -> None:
        self.path, self.stage = Path(folder) / "log.jsonl", stage
        self.first = ranks.is_first()
        if self.first:
            self.path.parent.mkdir(parents=True, exist_ok=True)

    def figures(self, split: str, step: int, seconds: float, values: dict[str, float]) -> None:
        """A line of figures; what is not finite is written as null."""
        if not self.first:
            return
        clean = {k: (round(v, 6) if math.isfinite(v) else None) for k, v in values.items()}
        self._write({"split": split, "step": step, "seconds": round(seconds, 2), **clean})

    def say(self, message: str, step: int = 0) -> None:
        """A sentence for the terminal and the log."""
        if self.first:
            print(f"[{self.stage}] {message}", file=sys.stderr, flush=True)
            self._write({"split": "message", "step": step, "message": message})

    def rewind(self, step: int) -> None:
        """Drops this stage's figures from after `step`, which a resumed run will write again."""
        if self.first and self.path.exists():
            kept = [line for line in read_log(self.path) if not self._after(line, step)]
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))

    def _after(self, line: dict[str, Any], step: int) -> bool:
        return line.get("stage") == self.stage and line.get("step", 0) > step

    def _write(self, line: dict[str, Any]) -> None:
        append_line(self.path, json.dumps({"stage": self.stage, **line}))


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that was cut short is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines
