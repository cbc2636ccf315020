"""What every benchmark needs: times, the machine's limits, peak memory, a table."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Sequence

import torch


def seconds(function: Callable[[], object], repeats: int = 5) -> float:
    """The best of some runs, after one that does not count."""
    return in_turn([function], repeats)[0]


def in_turn(functions: Sequence[Callable[[], object]], repeats: int = 5) -> list[float]:
    """The best time of each, run one after the other and again, so that all meet the same machine."""
    best = [float("inf")] * len(functions)
    for repeat in range(repeats + 1):
        for index, function in enumerate(functions):
            begin = time.perf_counter()
            function()
            if repeat:
                best[index] = min(best[index], time.perf_counter() - begin)
    return best


def matrix_rate(size: int = 2048) -> float:
    """Floating-point operations per second of a large float32 matrix product."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / seconds(lambda: a @ b)


def peak_memory(function: Callable[[], object]) -> float:
    """Bytes that a call adds to the process at its peak (Linux; NaN elsewhere)."""
    status, reset = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")
    if not status.exists():
        return float("nan")

    def kilobytes(field: str) -> int:
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1])

    reset.write_text("5")  # the peak starts again from here
    before = kilobytes("VmRSS")
    function()
    return 1024 * (kilobytes("VmHWM") - before)


def table(header: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    """Prints columns, the first to the left and the others to the right."""
    cells = [list(map(str, line)) for line in (header, *lines)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    for line in cells:
        first, *others = (
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join([first, *others]))
