"""What this machine is good at, measured: the device, and whether bfloat16 pays."""

from __future__ import annotations

import dataclasses
import time

import torch

from caselli.errors import UnknownName

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where a run computes, and in which precision."""

    device: str
    precision: str
    reason: str
    """One sentence for the log."""

    def autocast(self) -> torch.autocast:
        """The context for forward passes; weights stay float32."""
        return torch.autocast(
            self.device.split(":")[0], dtype=torch.bfloat16, enabled=self.precision == "bfloat16"
        )


CPU = Machine("cpu", "float32", "cpu, float32")
"""Plain arithmetic, as small fits take it."""


def machine(precision: str = "auto", device: str | None = None) -> Machine:
    """This machine, with `precision` decided by a measurement of half a second if it is "auto"."""
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if precision != "auto":
        return Machine(device, precision, f"{device}, {precision} as asked")
    single, half = (matrix_rate(dtype, device) for dtype in (torch.float32, torch.bfloat16))
    chosen = "bfloat16" if half > 1.3 * single else "float32"
    reason = (
        f"{device}: matrix products at {single / 1e9:.0f} GFLOP/s in float32, "
        f"{half / 1e9:.0f} in bfloat16, so {'bfloat16 autocast' if chosen == 'bfloat16' else 'float32'}"
    )
    return Machine(device, chosen, reason)


def matrix_rate(dtype: torch.dtype, device: str = "cpu", size: int = 1024, seconds: float = 0.1) -> float:
    """Floating-point operations a second of a square matrix product, the best of several."""
    a = torch.randn(size, size, dtype=torch.float32).to(device, dtype)
    _ = a @ a
    _synchronise(device)
    times, end = [], time.perf_counter() + seconds
    while (
        len(times) < 3 or time.perf_counter() < end
    ):  # three at least: a busy machine is slow, not without rate
        start = time.perf_counter()
        _ = a @ a
        _synchronise(device)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def _synchronise(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
