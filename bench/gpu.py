"""A day with a GPU: tests, kernels, training steps, sampling and memory, by one script in eight minutes.

    python -m bench gpu

It needs a checkout and torch alone, writes `gpu.json` and `gpu.md` into the current folder as it goes, and
goes on where a part fails. Without a device it is rehearsed on the processor, at sizes that say nothing of
speed.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from caselli.engine import Machine, machine
from caselli.files import write_text
from caselli.markdown import table

Rows = list[tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of everything that is measured."""

    lengths: tuple[int, ...] = (1024, 4096, 16384)
    """Sequences of the kernels."""
    recipes: tuple[tuple[str, int, dict[str, Any]], ...] = (("small", 64, {}), ("base", 256, {}))
    """Recipe, side of the pictures and changes of the training steps."""
    steps: int = 10
    """Steps that are timed."""
    sampled: int = 64
    """Sequences sampled at a time."""
    matrix: int = 8192
    """Side of the matrices whose product is the device's rate."""
    tested: bool = True
    """Runs the tests marked `gpu`."""


TINY = Sizes(
    (64,), (("tiny", 16, {"tokenizer.width": 16, "prior.width": 32, "prior.depth": 2}),), 1, 2, 256, False
)
"""Sizes of the rehearsal on a processor."""
SECONDS = 480
"""Parts are begun within so many seconds."""


class Day:
    """Device, sizes and clock of a measurement; each part of it is a function of this that gives a table.

    Arguments:
        device: cuda or cpu.
        sizes: what is measured.
        folder: where `gpu.json` and `gpu.md` go.
    """

    def __init__(self, device: str, sizes: Sizes, folder: Path) -> None:
        self.machine, self.sizes, self.folder = machine(device=device), sizes, folder
        self.device, self.begun = device, time.perf_counter()
        self.found: dict[str, Any] = {"device": self.name, "torch": str(torch.__version__)}
        self.pages: list[str] = [
            f"Measured on {self.name}, torch {torch.__version__}, by `python -m bench gpu`."
        ]

    @property
    def name(self) -> str:
        """The device's name."""
        return torch.cuda.get_device_name() if self.device == "cuda" else "a processor (a rehearsal)"

    def take(self, part: Callable[[Day], Rows]) -> None:
        """One part: its table is kept, or what went wrong."""
        title = (part.__doc__ or "").strip().rstrip(".")
        if time.perf_counter() - self.begun > SECONDS:
            self.found[part.__name__] = {"left out": "the time was up"}
        else:
            try:
                head, *rows = part(self)
                self.found[part.__name__] = [dict(zip(head, row, strict=True)) for row in rows]
                self.pages.append(f"**{title}**\n\n{table(head, rows)}")
            except Exception as error:  # the next part may still be of use
                lines = traceback.format_exc()
                self.found[part.__name__] = {"failed": f"{type(error).__name__}: {error}", "trace": lines}
                self.pages.append(f"**{title}**\n\nfailed: {type(error).__name__}: {error}")
        print(self.pages[-1], flush=True)
        write_text(self.folder / "gpu.json", json.dumps(self.found, indent=1))
        write_text(self.folder / "gpu.md", "\n\n".join(self.pages) + "\n")

    def seconds(self, step: Callable[[], object], repeats: int = 5) -> float:
        """Middle of some runs' seconds, after two that do not count, the device waited for."""
        times = []
        for number in range(repeats + 2):
            self.wait()
            begin = time.perf_counter()
            step()
            self.wait()
            times += [time.perf_counter() - begin] * (number > 1)
        return sorted(times)[len(times) // 2]

    def wait(self) -> None:
        """Returns when the device has done what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def rate(self, dtype: torch.dtype) -> float:
        """Floating-point operations a second of a large matrix product."""
        matrix = torch.randn(self.sizes.matrix, self.sizes.matrix, device=self.device, dtype=dtype)
        return 2 * self.sizes.matrix**3 / self.seconds(lambda: matrix @ matrix, self.sizes.steps)

    def peak(self, step: Callable[[], object]) -> float:
        """Gigabytes of the device's memory at the peak of a call; 0 on a processor."""
        if self.device != "cuda":
            step()
            return 0.0
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() / 1e9


def tests(day: Day) -> Rows:
    """Tests marked `gpu`."""
    if not day.sizes.tested:
        return [("tests", "outcome"), ("gpu", "left out")]
    words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests", "-p", "no:cacheprovider"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    last = (done.stdout.strip().splitlines() or ["no output"])[-1]
    return [("tests", "outcome"), ("gpu", last), *((line.split(" - ")[0], "failed") for line in failed[:20])]


def rates(day: Day) -> Rows:
    """Rates of large matrix products."""
    dtypes = (torch.float32, torch.bfloat16)
    return [
        ("type", "TFLOP/s"),
        *((str(d).removeprefix("torch."), f"{day.rate(d) / 1e12:.3g}") for d in dtypes),
    ]


def kernels(day: Day) -> Rows:
    """Forward and backward of the ops, 4 heads of 64, beside their PyTorch twins and fused attention."""
    from bench.mixers import ops

    rows: Rows = [("op, length", "ms", "twin ms", "times faster", "times faster than SDPA")]
    for length in day.sizes.lengths:
        with torch.device(day.device):
            steps = {name: step for name, (step, _) in ops(length).items()}
        own = {name: day.seconds(step, day.sizes.steps) for name, step in steps.items()}
        with mock.patch("caselli.ops.kernels.suits", lambda *tensors: False):
            twins = {
                name: day.seconds(step, day.sizes.steps) for name, step in steps.items() if name != "SDPA"
            }
        for name, took in own.items():
            twin = twins.get(name, took)
            beside = (
                f"{1e3 * took:.3g}",
                f"{1e3 * twin:.3g}",
                f"{twin / took:.2f}",
                f"{own['SDPA'] / took:.2f}",
            )
            rows.append((f"{name}, {length:,}", *beside))
    return rows


def training(day: Day) -> Rows:
    """Training steps, with the share of the device's rate and the plan's memory beside what was taken."""
    rows: Rows = [("stage", "batch", "ms", "samples/s", "of the rate", "GB", "GB planned")]
    rate = day.rate(torch.bfloat16 if day.machine.precision == "bfloat16" else torch.float32)
    for recipe, side, changes in day.sizes.recipes:
        planned = _planned(recipe, side, changes)
        for stage in _stages(recipe, side, changes, day.machine):
            cost, memory = planned[stage.product]
            fit, batch = _begun(stage, day.machine)
            fit.update(fit.task, batch)
            gigabytes = day.peak(lambda fit=fit, batch=batch: fit.update(fit.task, batch))
            took = day.seconds(lambda fit=fit, batch=batch: fit.update(fit.task, batch), day.sizes.steps)
            figures = (
                f"{1e3 * took:.3g}",
                f"{stage.config.batch / took:,.0f}",
                f"{cost.flops / took / rate:.0%}",
            )
            taken = (f"{gigabytes:.3g}", f"{memory / 1e9:.3g}")
            rows.append((f"{stage.product} of {recipe}", str(stage.config.batch), *figures, *taken))
            del fit, batch
    return rows


def sampling(day: Day) -> Rows:
    """Codes sampled per second by the prior of each recipe, untrained, by the engine that is chosen."""
    from caselli.sampling import best_engine, sample

    rows: Rows = [("prior", "engine", "codes/s", "GB")]
    for recipe, side, changes in day.sizes.recipes:
        stage = _stages(recipe, side, changes, day.machine)[-1]
        prior = stage.task().prior.to(day.device).eval()
        engine, _ = best_engine(prior)
        seeds = list(range(day.sizes.sampled))

        def draw(engine: Any = engine, seeds: list[int] = seeds) -> None:
            sample(engine, None, seeds)

        gigabytes = day.peak(draw)
        took = day.seconds(draw, min(3, day.sizes.steps))
        codes = len(seeds) * prior.alphabet.length
        rows.append((f"of {recipe}", type(engine).__name__, f"{codes / took:,.0f}", f"{gigabytes:.3g}"))
    return rows


PARTS = (rates, kernels, training, sampling, tests)
"""Parts of the measurement, the most important first."""


def _stages(recipe: str, side: int, changes: dict[str, Any], machine: Machine) -> list[Any]:
    """The stages of a run on pictures that say nothing, with stand-ins for what others leave."""
    import contextlib
    import io
    import tempfile

    from caselli.run import RECIPES, RunFolder
    from caselli.run.planning import prepared

    kind = RECIPES[recipe].kind
    with contextlib.redirect_stderr(io.StringIO()):
        run = prepared(kind, "glyphs", recipe, {"data.size": side, "data.channels": 3, **changes})
    run.machine, run.folder = machine, RunFolder(tempfile.mkdtemp())
    return [each(run).rehearsed() for each in kind.stage_shares(recipe)]


def _begun(stage: Any, machine: Machine) -> tuple[Any, Any]:
    from caselli.engine import Fit
    from caselli.engine.batch import to_device

    return Fit(stage.task(), None, stage.config, machine), to_device(
        stage.example(stage.config.batch), machine.device
    )


def _planned(recipe: str, side: int, changes: dict[str, Any]) -> dict[str, tuple[Any, int]]:
    """Arithmetic and memory of a step of each stage by the plan, without the average, which is not kept
    here."""
    from caselli.run import plan

    found = plan(
        "glyphs", recipe=recipe, on="H100", changes={"data.size": side, "data.channels": 3, **changes}
    )
    return {one.name: (one.cost, one.memory.total - one.memory.average) for one in found.stages}


def run(device: str | None = None, sizes: Sizes | None = None, folder: Path = Path()) -> Day:
    """Measures all parts; on a processor at the sizes of a rehearsal."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    day = Day(device, sizes or (Sizes() if device == "cuda" else TINY), folder)
    for part in PARTS:
        day.take(part)
    failed = [name for name, what in day.found.items() if isinstance(what, dict)]
    print(f"\nlook at {folder / 'gpu.md'} and {folder / 'gpu.json'}; {_words(failed)}")
    return day


def _words(failed: list[str]) -> str:
    return f"failed or left out: {', '.join(failed)}, see gpu.json" if failed else "every part went through"
