"""Programs in torch's own format."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.export import ExportedProgram

from caselli.interop.export import Programs, Runner


class ToTorch(Programs):
    """Encoder and decoder as programs of torch.export: encoder.pt2 and decoder.pt2."""

    name, suffix = "torch", ".pt2"

    def save(self, program: ExportedProgram, path: Path) -> None:
        torch.export.save(program, path)

    def read(self, path: Path) -> Runner:
        return torch.export.load(path).module()
