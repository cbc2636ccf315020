"""Rates of this machine and durations of forward passes: the only part of anatomy that computes."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from caselli.anatomy.cost import MachineRates
from caselli.shapes import Tensor

SIDE = 1024
"""Height and width of the matrices whose product measures the rate."""
COPIED = 64 * 2**20
"""Bytes of the tensor whose copying measures the bandwidth; caches are smaller."""


def measured_machine(device: str = "cpu", dtype: torch.dtype = torch.float32) -> MachineRates:
    """This machine's best rate of matrix products, and its bandwidth when copying.

    Costs count the bytes of float32; for a type of half the size the bandwidth counts as twice as high.

    Arguments:
        device: cpu or cuda.
        dtype: type of the products.

    Example:
        >>> measured_machine().macs_per_second > 0
        True
    """
    matrix = torch.randn(SIDE, SIDE).to(device, dtype)
    rate = SIDE**3 / median_seconds(lambda: matrix @ matrix, device)
    source = torch.zeros(COPIED // 4, device=device)
    target = torch.empty_like(source)
    seconds = median_seconds(lambda: target.copy_(source), device)
    threads = f", {torch.get_num_threads()} threads" if device == "cpu" else ""
    numbers = 2 * COPIED / 4 / seconds * torch.float32.itemsize / dtype.itemsize
    return MachineRates(
        rate, 4 * numbers, f"this machine ({device}{threads}, {str(dtype).removeprefix('torch.')})"
    )


def forward_seconds(module: nn.Module, x: Tensor) -> float:
    """Seconds of a forward pass in evaluation mode, without gradients."""

    @torch.no_grad()
    def run() -> None:
        module(x)

    was = module.training
    module.eval()
    try:
        return median_seconds(run, x.device.type)
    finally:
        module.train(was)


def median_seconds(run: Callable[[], object], device: str = "cpu", repeats: int = 5) -> float:
    """The median time of several runs, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[repeats // 2]
