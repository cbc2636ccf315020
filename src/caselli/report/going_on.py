"""The section of a run's page that says what to do next, as command lines."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from caselli.report.folder import Contents, is_number
from caselli.report.page import Page


def commands(page: Page, run: Contents) -> None:
    """Command lines to go on with."""
    lines = go_on(run)
    if lines:
        page.section("Go on")
        page.commands(lines)


def go_on(run: Contents) -> list[tuple[str, str]]:
    """Uses that a run has shown that it can be put to, each with its command line; the likeliest first."""
    folder, source, label = shlex.quote(str(run.path)), run.source(), _label(run)
    asked = f" --label {shlex.quote(label)}" if label else ""
    lines = []
    if any(stem.startswith("samples") for stem in run.pictures):
        lines.append(("New pictures:", f"caselli sample {folder} -n 16{asked} -o samples.png"))
    if "reconstructions" in run.pictures:
        command = f"caselli reconstruct {folder} PICTURES -o pairs.png"
        lines.append(("Pictures of your own, coded and decoded:", command))
    if "segmentation" in run.results:
        command = f"caselli segment {folder} PICTURES -o masks"
        lines.append(("Masks of pictures of your own:", command))
    if run.figure("bits_per_dimension") or run.figure("bits_per_dimension_bound"):
        lines.append(("The odd ones among pictures of your own:", f"caselli score {folder} PICTURES"))
    if source is not None:
        quoted = shlex.quote(source)
        lines.append(("Measure on held-out pictures:", f"caselli evaluate {folder} {quoted}"))
        if "slim" not in run.results:
            longer = _twice(run.setting("training"), "training", run.stages())
            train = f"caselli train {quoted} -o {folder} --resume"
            lines.append(("Train on, to twice the budget:", " ".join([train, *longer])))
    return lines


def _twice(training: Any, name: str, stages: Sequence[str]) -> list[str]:
    """Options that give twice the budget to every stage that was trained."""
    if not isinstance(training, Mapping):
        return []
    if "steps" in training:
        budget = "minutes" if training.get("minutes") else "steps"
        return [f"--{name}.{budget} {2 * training[budget]:.12g}"] if is_number(training[budget]) else []
    parts = [(key, part) for key, part in training.items() if key in stages]
    return [word for key, part in parts for word in _twice(part, f"{name}.{key}", stages)]


def _label(run: Contents) -> str:
    """A label that can be asked for, as an example; empty where the data or the model have none."""
    config = run.config.get("config")
    own = config.get("model") if isinstance(config, Mapping) else None
    if isinstance(own, Mapping) and not own.get("classes", True):
        return ""
    names = run.group("data").get("class_names")
    return str(names[0]) if isinstance(names, list) and names else ""
