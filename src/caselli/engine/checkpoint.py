"""Checkpoints that survive anything: whole or absent, the last two and the best kept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch

from caselli.errors import UserError, is_out_of_memory
from caselli.files import atomic_write, unfinished

LAST, BEFORE, BEST = "last.pt", "before.pt", "best.pt"


class Checkpoints:
    """The checkpoints of one stage, in a folder of their own.

    `last.pt` is the newest, `before.pt` the one before it (what is fallen back to when the newest was cut
    short), `best.pt` the weights with the lowest validation loss.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def save(self, state: dict[str, Any]) -> None:
        """Makes `state` the newest checkpoint, and the newest until now the one before."""
        with atomic_write(self.folder / LAST) as temporary:
            torch.save(state, temporary)
            if (self.folder / LAST).exists():
                os.replace(self._copy_of_last(), self.folder / BEFORE)

    def save_best(self, state: dict[str, Any]) -> None:
        """Keeps `state` as the best."""
        with atomic_write(self.folder / BEST) as temporary:
            torch.save(state, temporary)

    def load(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest checkpoint that is whole (None if there never was one), and what to tell the user."""
        words = []
        for name in (LAST, BEFORE):
            path = self.folder / name
            if path.exists():
                state = _read(path)
                if state is not None:
                    return state, words
                words.append(f"{path} is cut short or damaged; falling back to the checkpoint before it")
        if words:
            raise UserError(
                f"no checkpoint in {self.folder} is whole",
                remedy="remove that folder to train the stage anew",
            )
        return None, words

    def forget_best(self) -> None:
        """Forgets the best, whose loss was measured on other data."""
        (self.folder / BEST).unlink(missing_ok=True)

    def load_best(self) -> dict[str, Any] | None:
        """The state that `save_best` kept, if it is whole."""
        path = self.folder / BEST
        return _read(path) if path.exists() else None

    def _copy_of_last(self) -> Path:
        copy = self.folder / f"{unfinished(Path(BEFORE))}.new"
        copy.unlink(missing_ok=True)
        try:
            os.link(self.folder / LAST, copy)
        except OSError:  # a file system without hard links
            shutil.copyfile(self.folder / LAST, copy)
        return copy


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the reader raise anything
        if is_out_of_memory(error) or isinstance(error, PermissionError):
            raise  # the file may be whole
        return None
