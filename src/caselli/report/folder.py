"""The contents of a run folder, read without complaint: what is missing or broken is empty."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from caselli.engine.log import read_log
from caselli.figures import Figure


@dataclasses.dataclass(frozen=True)
class Curve:
    """One figure of one stage and split over the steps."""

    steps: list[int]
    seconds: list[float]
    values: list[float]


@dataclasses.dataclass(frozen=True)
class Message:
    """A sentence that a stage said."""

    stage: str
    step: int
    text: str


@dataclasses.dataclass(frozen=True)
class Contents:
    """A run folder's files, read."""

    path: Path
    config: Mapping[str, Any]
    config_text: str
    results: Mapping[str, Any]
    curves: Mapping[tuple[str, str, str], Curve]
    """(stage, split, figure) → its curve."""
    messages: list[Message]
    pictures: Mapping[str, bytes]
    """Stem → the bytes of a PNG file that can be read."""
    figures: Mapping[str, Figure]
    """The figures that runs of this kind have; others are shown under their name."""

    def stages(self) -> list[str]:
        """The stages in the order in which they were trained."""
        return list(dict.fromkeys(stage for stage, _, _ in self.curves))

    def group(self, name: str) -> Mapping[str, Any]:
        """A group of the results; empty where there is none."""
        part = self.results.get(name)
        return part if isinstance(part, Mapping) else {}

    def figure(self, name: str) -> Any:
        """A figure of the results, from whichever group has it first; else its last value in the log, of
        validation before training; else None."""
        for group in self.results:
            value = self.group(group).get(name)
            if value is not None:
                return value
        for split in ("validation", "train"):
            for stage in self.stages():
                curve = self.curves.get((stage, split, name))
                if curve is not None:
                    return curve.values[-1]
        return None

    def time(self, stage: str) -> str:
        """Duration of a stage's training, in words; empty where the log does not say."""
        curves = [curve for (name, _, _), curve in self.curves.items() if name == stage]
        seconds = [value for curve in curves for value in curve.seconds if math.isfinite(value)]
        return duration(max(seconds)) if seconds else ""

    def source(self) -> str | None:
        """The pictures that the run was trained on, as given on the command line."""
        place = self.setting("data", "source")
        return place if isinstance(place, str) else None

    def setting(self, *names: str) -> Any:
        """A field of the configuration, or a group of them; None where there is none."""
        place: Any = self.config.get("config")
        for name in names:
            place = place.get(name) if isinstance(place, Mapping) else None
        return place


def read_run(run: Path, figures: Mapping[str, Figure] | None = None) -> Contents:
    """Reads a run folder; never raises because something in it is missing, cut short or foreign.

    Arguments:
        run: the folder.
        figures: the figures that its kind of run has.

    Example:
        >>> read_run(Path("no-such-run")).stages()
        []
    """
    config_text = _text(run / "run.yaml")
    curves, messages = history(_lines(run / "log.jsonl"))
    return Contents(
        path=run,
        config=_mapping(config_text),
        config_text=config_text,
        results=_results(run / "results.json"),
        curves=curves,
        messages=messages,
        pictures=_pictures(run / "pictures"),
        figures=figures or {},
    )


def history(lines: list[dict[str, Any]]) -> tuple[dict[tuple[str, str, str], Curve], list[Message]]:
    """The curves and the messages of a log; of two lines for one step, the later counts (a resumed run).

    Example:
        >>> curves, _ = history([{"stage": "prior", "split": "train", "step": 1, "loss": 2.0}])
        >>> curves["prior", "train", "loss"].values
        [2.0]
    """
    points: dict[tuple[str, str, str], dict[int, tuple[float, float]]] = defaultdict(dict)
    messages = []
    for line in lines:
        stage, split = str(line.get("stage", "")), str(line.get("split", ""))
        step = line.get("step")
        step = int(step) if is_number(step) else 0
        if split == "message":
            messages.append(Message(stage, step, str(line.get("message", ""))))
            continue
        seconds = line.get("seconds")
        for name, value in line.items():
            if name not in ("step", "seconds") and is_number(value):
                points[stage, split, name][step] = (seconds if is_number(seconds) else math.nan, value)
    return {key: _curve(values) for key, values in points.items()}, messages


def _curve(points: dict[int, tuple[float, float]]) -> Curve:
    steps = sorted(points)
    return Curve(steps, [points[step][0] for step in steps], [points[step][1] for step in steps])


def is_number(value: object) -> bool:
    """True for a number that can be drawn; false for a truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def duration(value: float) -> str:
    """Seconds as a person says them.

    Example:
        >>> duration(42.0), duration(342.0), duration(7500.0)
        ('42 s', '5 min 42 s', '2 h 5 min')
    """
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested figures by dotted name; lists of records and empty ones are left out.

    Example:
        >>> list(flat({"a": {"b": 1, "bad": [{"name": "x"}]}, "c": [1, 2]}))
        [('a.b', 1), ('c', [1, 2])]
    """
    for key, value in figures.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{name}.")
        elif not isinstance(value, list) or (value and not any(isinstance(v, Mapping) for v in value)):
            yield name, value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return read_log(path)
    except (OSError, UnicodeDecodeError):
        return []


def _mapping(text: str) -> Mapping[str, Any]:
    import yaml

    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, Mapping) else {}


def _results(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(_text(path), parse_int=float)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, Mapping) else {}


def _pictures(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(folder.glob("*.png")) if folder.is_dir() else []:
        try:
            data = path.read_bytes()
            Image.open(io.BytesIO(data)).load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            continue
        found[path.stem] = data
    return found
