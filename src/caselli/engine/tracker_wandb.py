"""Figures for Weights & Biases."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from caselli.engine.tracker import Tracker
from caselli.errors import UserError
from caselli.files import write_text


class WeightsAndBiases(Tracker):
    """Weights & Biases, project `caselli`: one of its runs a stage, grouped by run folder.

    `WANDB_MODE=offline` keeps everything in RUN/wandb, for `wandb sync` to send later; its other variables
    (`WANDB_PROJECT`, `WANDB_ENTITY`, ...) count as ever. A training that goes on continues its run there.

    Errors: `UserError` where it is neither logged in nor offline.
    """

    library = "wandb"

    def __init__(self, folder: Path, stage: str, settings: Mapping[str, Any]) -> None:
        import wandb

        try:
            self.run = wandb.init(
                project=None if wandb.Settings().project else "caselli",
                dir=str(folder),
                id=_identity(folder / "wandb" / f"{stage}.id"),
                resume="allow",
                group=folder.resolve().name,
                name=f"{folder.resolve().name} {stage}",
                config=dict(settings),
            )
        except wandb.Error as error:
            remedy = "`wandb login` once, or set WANDB_MODE=offline"
            raise UserError(f"Weights & Biases does not start ({error})", remedy=remedy) from None
        self.run.define_metric(
            "*", step_metric="step"
        )  # its own steps may not go back, as a resumed one does

    def figures(self, split: str, step: int, seconds: float, values: Mapping[str, float]) -> None:
        named = {f"{split}/{name}": value for name, value in values.items()}
        self.run.log({"step": step, "seconds": seconds, **named})

    def close(self) -> None:
        self.run.finish()


def _identity(path: Path) -> str:
    """The name of a stage's run over there, kept in the run folder."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, secrets.token_hex(4))
    return path.read_text(encoding="utf-8")
