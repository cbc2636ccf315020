"""Plans beside what was measured: memory at the peak of a step, and seconds of it, in a process for each run.

Memory is that of a process that gives freed pages back at once (glibc's thresholds are set so): resident are
the tensors alive. Seconds are those of another, which keeps them, as the command `caselli` does: faster, and
more memory.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.measure import in_a_process, table
from caselli.cli.pages import keep_pages

SMALL = {"data.size": 64, "data.channels": 3}
RUNS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "tokenizer of tiny": ("tiny", "tokenizer", {}),
    "prior of tiny": ("tiny", "prior", {}),
    "tokenizer of small": ("small", "tokenizer", SMALL),
    "prior of small": ("small", "prior", SMALL),
    "prior of small, GLA": ("small", "prior", {**SMALL, "prior.mixer": "gla"}),
    "VAE": ("vae", "vae", {"data.channels": 3}),
}
"""Runs that are planned and measured: recipe, stage, changes."""
BASE = {
    stage: ("base", stage, {"data.size": 256, "data.channels": 3, f"training.{stage}.batch": 2})
    for stage in ("tokenizer", "prior")
}
"""The recipe `base` at its real size, two samples a step."""
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
STEPS = 3


def planned(recipe: str, stage: str, changes: dict[str, Any]) -> tuple[int, float]:
    """Bytes at the peak and seconds of a step by the plan, on this machine's processor."""
    from caselli.run import plan

    with tempfile.TemporaryDirectory() as folder:
        found = plan(_pictures(folder), recipe=recipe, changes={"precision": "float32", **changes})
    own = next(one for one in found.stages if one.name == stage)
    return own.memory.total, own.seconds


def measured(recipe: str, stage: str, changes: dict[str, Any], steps: int = STEPS) -> tuple[int, float]:
    """Bytes at the peak and seconds of a step as they are, each in a process of its own."""
    _, seconds = in_a_process(_measured, recipe, stage, changes, steps)
    before = {name: os.environ.get(name) for name in GIVE_BACK}
    os.environ.update(GIVE_BACK)
    try:
        return in_a_process(_measured, recipe, stage, changes, 2)[0], seconds
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _measured(recipe: str, stage: str, changes: dict[str, Any], steps: int) -> tuple[int, float]:
    keep_pages()
    _trained(recipe if recipe == "vae" else "tiny", stage, {}, 1)  # libraries load their code and buffers
    return _trained(recipe, stage, changes, steps)


def _trained(recipe: str, name: str, changes: dict[str, Any], steps: int) -> tuple[int, float]:
    from caselli.engine import CPU, Fit
    from caselli.engine.ema import Ema
    from caselli.run import RECIPES, RunFolder
    from caselli.run.planning import prepared

    kind = RECIPES[recipe].kind
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        run = prepared(kind, _pictures(f"{folder}/pictures"), recipe, {"precision": "float32", **changes})
        run.folder = RunFolder(f"{folder}/run")
        stage = next(s for s in (each(run) for each in kind.stages) if s.name == name)
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        task = stage.rehearsed().task()
    batch, times = stage.example(stage.config.batch), []
    fit, ema = Fit(task, None, stage.config, CPU), Ema(task, stage.config.ema)
    for _ in range(steps):
        begin = time.perf_counter()
        fit.update(fit.task, batch)
        ema.update(fit.task, fit.step)
        times.append(time.perf_counter() - begin)
    return _status("VmHWM") - before, min(times)


def _pictures(folder: str) -> str:
    """A few grey pictures of two classes: they take no memory beside a step's."""
    from PIL import Image

    for i in range(20):
        path = Path(folder) / f"{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (32, 32), 10 * i).save(path)
    return folder


def _status(field: str) -> int:
    with open("/proc/self/status") as status:
        return 1024 * int(next(line for line in status if line.startswith(field)).split()[1])


def run() -> None:
    """Prints both tables; `base` takes some minutes and 4 GB."""
    lines = []
    for name, what in {**RUNS, **{f"{stage} of base": what for stage, what in BASE.items()}}.items():
        (memory, seconds), (bytes_taken, taken) = planned(*what), measured(*what)
        lines.append(
            (
                name,
                f"{memory / 2**20:,.0f}",
                f"{bytes_taken / 2**20:,.0f}",
                f"{memory / bytes_taken:.2f}",
                f"{seconds:.3f}",
                f"{taken:.3f}",
                f"{seconds / taken:.2f}",
            )
        )
    table(("run", "planned MB", "measured MB", "ratio", "planned s", "measured s", "ratio"), lines)
