"""The rate of a machine: measured once, kept, and never asked again by a run that has begun."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from pathlib import Path

import torch

from caselli.engine.machine import Machine
from caselli.errors import UserError
from caselli.files import write_text

SECONDS = 0.5
SIZES = {"cpu": (1024, 1), "cuda": (8192, 8)}
"""Side of the matrices, and products between two readings of the clock: a GPU's launches take their time."""


def rate_of(machine: Machine) -> float:
    """Operations per second of large matrix products on a machine, to half an octave.

    The best of many products within half a second is taken, so that other work on the machine counts little,
    and rounded to a power of √2, so that two measurements of one machine agree. The figure is kept in
    `caselli/rates.json` beneath `$XDG_CACHE_HOME`, or `~/.cache`, for each machine, precision and number of
    threads.

    Arguments:
        machine: device and precision.
    """
    file = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "caselli" / "rates.json"
    threads = torch.get_num_threads()
    processor = torch.cuda.get_device_name() if machine.device.startswith("cuda") else machine.device
    name = f"{platform.node()}, {processor}, {machine.precision}, {threads} threads"
    known = _read(file)
    if name not in known:
        known[name] = rounded(measured(machine))
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(known, indent=2))
        except (OSError, UserError):
            pass  # a home that cannot be written to: the next run measures again
    return known[name]


def measured(machine: Machine) -> float:
    """Operations per second of the fastest of some products."""
    size, times = SIZES[machine.device.split(":")[0]]
    a = torch.ones(size, size, device=machine.device, dtype=machine.products)
    best, end = math.inf, time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        begin = time.perf_counter()
        for _ in range(times):
            product = a @ a
        product[0, 0].item()  # waits for a GPU
        best = min(best, (time.perf_counter() - begin) / times)
    return 2 * size**3 / best


def rounded(rate: float) -> float:
    """A rate to the nearest power of √2.

    Example:
        >>> rounded(100.0), rounded(93.0)
        (90.50966799187809, 90.50966799187809)
    """
    return 2 ** (round(2 * math.log2(rate)) / 2)


def _read(file: Path) -> dict[str, float]:
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    usable = isinstance(known, dict) and all(isinstance(v, float) and v > 0 for v in known.values())
    return known if usable else {}
