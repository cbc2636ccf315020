"""Figures as TensorBoard's events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from caselli.engine.tracker import Tracker


class TensorBoard(Tracker):
    """TensorBoard's events in RUN/tensorboard/STAGE; `tensorboard --logdir RUN` shows them."""

    library = "tensorboard"

    def __init__(self, folder: Path, stage: str, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard" / stage))
        table = "".join(f"    {name}: {value}\n" for name, value in settings.items())
        self.writer.add_text("run", table)

    def figures(self, split: str, step: int, seconds: float, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(f"{split}/{name}", value, step)

    def close(self) -> None:
        self.writer.close()
