"""Devices that a run can be planned for, by their makers' data sheets."""

from __future__ import annotations

import dataclasses
import os
import re

import torch

from caselli.anatomy import MachineRates, measured_machine
from caselli.engine import machine
from caselli.errors import UnknownName, UserError

GB, TFLOPS = 10**9, 10**12


@dataclasses.dataclass(frozen=True)
class Device:
    """Memory and highest rates of a device."""

    memory: float
    """Bytes."""
    bandwidth: float
    """Bytes read or written per second."""
    bfloat16: float
    """Floating-point operations per second of dense matrix products in bfloat16, sums in float32; 0 where
    there are none."""
    float32: float
    """Floating-point operations per second of dense matrix products in float32."""
    share: float = 0.6
    """Share of the pace that these rates allow which a training step is assumed to reach."""

    @property
    def precision(self) -> str:
        """The precision that a run takes unless it is told one."""
        return "bfloat16" if self.bfloat16 else "float32"

    def rates(self, precision: str) -> MachineRates:
        """Its rates in a precision."""
        rate = self.bfloat16 if precision == "bfloat16" and self.bfloat16 else self.float32
        return MachineRates(rate / 2, self.bandwidth)


DEVICES: dict[str, Device] = {
    "B200": Device(180 * GB, 7700 * GB, 2250 * TFLOPS, 75 * TFLOPS),
    "H200": Device(141 * GB, 4800 * GB, 989 * TFLOPS, 67 * TFLOPS),
    "H100": Device(80 * GB, 3350 * GB, 989 * TFLOPS, 67 * TFLOPS),
    "A100": Device(80 * GB, 2039 * GB, 312 * TFLOPS, 19.5 * TFLOPS),
    "A100-40": Device(40 * GB, 1555 * GB, 312 * TFLOPS, 19.5 * TFLOPS),
    "L40S": Device(48 * GB, 864 * GB, 362 * TFLOPS, 91.6 * TFLOPS),
    "L4": Device(24 * GB, 300 * GB, 121 * TFLOPS, 30.3 * TFLOPS),
    "RTX4090": Device(24 * GB, 1008 * GB, 165 * TFLOPS, 82.6 * TFLOPS),
    "RTX3090": Device(24 * GB, 936 * GB, 71 * TFLOPS, 35.6 * TFLOPS),
    "V100": Device(32 * GB, 900 * GB, 0, 15.7 * TFLOPS),
}
"""Devices by name, with the rates of their data sheets: dense, not sparse."""
MEASURED_SHARE = 0.95
"""Share of rates that were measured, not printed, which a training step reaches (`python -m bench plan`)."""
CPU = "cpu"
"""Name of this machine's processor, whose rates are measured when it is asked for."""


def devices_of(text: str) -> tuple[int, str]:
    """Number and name of the devices that `8xH100` stands for.

    Example:
        >>> devices_of("8xh100"), devices_of("cpu")
        ((8, 'H100'), (1, 'cpu'))
    """
    found = re.fullmatch(r"(?:(\d+)\s*[x×*]\s*)?([A-Za-z][\w-]*)", text)
    if not found or found[1] == "0":
        raise UserError(f"devices {text!r} were given", "a number and a name such as 8xH100 were expected")
    known = {name.lower(): name for name in (*DEVICES, CPU)}
    if found[2].lower() not in known:
        raise UnknownName("device", found[2], (*DEVICES, CPU))
    return int(found[1] or 1), known[found[2].lower()]


def device_of(name: str) -> Device:
    """A device of the table, or this machine's processor as it is measured now."""
    if name != CPU:
        return DEVICES[name]
    fast = machine(device="cpu").precision == "bfloat16"
    plain = measured_machine()
    half = 2 * measured_machine(dtype=torch.bfloat16).macs_per_second if fast else 0.0
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 * GB
    rates = (plain.bytes_per_second, half, 2 * plain.macs_per_second)
    return Device(memory, *rates, share=MEASURED_SHARE)
