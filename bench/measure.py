"""What every benchmark needs: times, the machine's limits, peak memory, a table."""

from __future__ import annotations

import multiprocessing
import pathlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch

from caselli.private import DispatchMode, tree_map


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


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a call in a process of its own: what the allocator does depends on what it did before.

    Example:
        >>> in_a_process(max, 1, 2)
        2
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def matrix_rate(size: int = 2048) -> float:
    """Floating-point operations per second of a large float32 matrix product."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / seconds(lambda: a @ b)


class _Products(DispatchMode):
    """Notes every matrix product with the layout of what it takes."""

    NAMES = frozenset({"mm", "bmm", "addmm", "baddbmm", "_linear_pointwise"})

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket.__name__ in self.NAMES:
            self.calls.append((function, tree_map(_layout, args), kwargs or {}))
        return function(*args, **(kwargs or {}))


def _layout(x: object) -> object:
    return x.new_empty(0).new_empty_strided(x.shape, x.stride()) if isinstance(x, torch.Tensor) else x


def products_alone(step: Callable[[], object]) -> Callable[[], None]:
    """The matrix products of a step and nothing else: its time is what no arrangement of them goes below.

    Example:
        >>> a = torch.ones(2, 2)
        >>> products_alone(lambda: a @ a + 1)()
    """
    with _Products() as noted:
        step()
    calls = [(f, tree_map(_filled, args), options) for f, args, options in noted.calls]

    @torch.no_grad()
    def run() -> None:
        for function, args, options in calls:
            function(*args, **options)

    return run


def _filled(x: object) -> object:
    return x.normal_() if isinstance(x, torch.Tensor) else x


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
