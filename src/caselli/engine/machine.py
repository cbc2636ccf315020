"""Device and precision of a run."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from caselli.errors import UnknownName

PRECISIONS = ("auto", "float32", "bfloat16")
INSTRUCTIONS = {
    "amx_bf16": "AMX-BF16",
    "avx512_bf16": "AVX512-BF16",
    "sve_bf16": "SVE-BF16",
    "bf16": "Arm BF16",
}
"""Instruction sets of CPUs for products in bfloat16: names in torch, names of the makers."""


@dataclasses.dataclass(frozen=True)
class Machine:
    """Device and precision that a run computes with."""

    device: str
    precision: str
    reason: str
    """One sentence for the log."""

    @property
    def products(self) -> torch.dtype:
        """The type that matrix products take."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def autocast(self) -> torch.autocast:
        """The context for forward passes; weights stay float32."""
        return torch.autocast(
            self.device.split(":")[0], dtype=torch.bfloat16, enabled=self.precision == "bfloat16"
        )


CPU = Machine("cpu", "float32", "cpu, float32")
"""Plain arithmetic, as small fits take it."""


def default_device() -> str:
    """The device of this process: cuda where there is one, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def on_device(network: Any) -> Any:
    """A network, or the trained network of a run, moved to the device of this process."""
    return network.to(default_device())


def machine(precision: str = "auto", device: str | None = None) -> Machine:
    """This machine, in the precision asked for.

    Arguments:
        precision: a name in `PRECISIONS`. With auto the kind of processor decides, not a measurement, so that
            two runs of the same seed agree: bfloat16 where matrix products have instructions for it.
        device: cpu or cuda; see `default_device`.

    Errors: `UnknownName` for another precision.
    """
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    device = device or default_device()
    if precision != "auto":
        return Machine(device, precision, f"{device}, {precision} as asked")
    units = _bfloat16_units(device)
    if units:
        return Machine(device, "bfloat16", f"{device} with {units}, so bfloat16 autocast")
    return Machine(device, "float32", f"{device} without matrix products in bfloat16, so float32")


def _bfloat16_units(device: str) -> str:
    """The hardware that multiplies matrices in bfloat16, in words; empty if there is none."""
    if device.startswith("cuda"):
        major, minor = torch.cuda.get_device_capability(device)
        return f"compute capability {major}.{minor}" if major >= 8 else ""
    if not torch.backends.mkldnn.is_available():
        return ""  # oneDNN has the products that use these instructions
    # not in every torch that we take
    found = getattr(torch.cpu, "get_capabilities", dict)()
    return " and ".join(words for name, words in INSTRUCTIONS.items() if found.get(name))
