"""Checkpoints that survive anything: whole or absent, the last two, the best and an early one kept."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from caselli import ranks
from caselli.engine import parts
from caselli.errors import UserError, is_out_of_memory
from caselli.files import atomic_write, sync, told, unfinished

LAST, BEST, EARLY = "last", "best", "early"
BEHIND = {LAST: "before", BEST: "best-before", EARLY: "early-before"}
"""The name that each has when there is a newer one. Those of the best and the early one are kept while their
folders are replaced."""
SUFFIX = ".pt"
"""Ending of a checkpoint that is one file; one in parts is a folder without."""


class Checkpoints:
    """The checkpoints of one stage, in a folder of their own.

    `last` is the newest, `before` the one before it (what is fallen back to when the newest was cut short),
    `best` the weights with the lowest validation loss, `early` those of a moment long before the end. Each is
    a file that the first rank writes, or, where weights are shared out, a folder that all ranks write to
    while training goes on. All ranks have to save, load and finish.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.writing: parts.Writing | None = None

    def save(self, state: dict[str, Any]) -> None:
        """Makes `state` the newest checkpoint, and the newest until now the one before."""
        self._save(state, LAST)

    def save_best(self, state: dict[str, Any]) -> None:
        """Keeps `state` as the best."""
        self._save(state, BEST)

    def save_early(self, state: dict[str, Any]) -> None:
        """Keeps `state` as the early one."""
        self._save(state, EARLY)

    def settle(self) -> None:
        """Gives a checkpoint its name where all of it is written."""
        if self.writing is not None and self.writing.is_done():
            self._end_writing()

    def finish(self) -> None:
        """Waits until what was saved is on the disk, for all ranks to see."""
        self._end_writing()
        ranks.wait()

    def load(self, layout: Mapping[str, Any] | None = None) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest checkpoint that is whole (None if there never was one), and what to tell the user.

        Arguments:
            layout: nested dicts of tensors of which some are shared out, see `parts.read`.
        """
        if ranks.is_first():
            parts.forget_unfinished(self.folder, LAST, BEST, EARLY)
        words = []
        for path in self._newest_first(LAST):
            state = _read(path, layout)
            if state is not None:
                return state, words
            words.append(f"{path} is cut short or damaged; falling back to the checkpoint before it")
        if words:
            raise UserError(
                f"no checkpoint in {self.folder} is whole",
                remedy="remove that folder to train the stage anew",
            )
        return None, words

    def reached(self) -> tuple[int, float] | None:
        """Steps and seconds of the newest checkpoint that is whole; None where there is none."""
        for path in self._newest_first(LAST):
            state = parts.numbers_in(path) if path.is_dir() else _read(path, None)
            if state is not None:
                return state["step"], state["seconds"]
        return None

    def forget_kept(self) -> None:
        """Forgets the best, whose loss was measured on other data, and the early one, which learnt them."""
        for name in (BEST, EARLY):
            self._remove(name)
            self._remove(BEHIND[name])

    def load_best(self) -> dict[str, Any] | None:
        """The state that `save_best` kept, its tensors whole, if it is."""
        return self._load_kept(BEST)

    def has_early(self) -> bool:
        """True where `save_early` kept a state."""
        return bool(self._newest_first(EARLY))

    def load_early(self) -> dict[str, Any] | None:
        """The state that `save_early` kept, its tensors whole, if it is."""
        return self._load_kept(EARLY)

    def _load_kept(self, name: str) -> dict[str, Any] | None:
        found = self._newest_first(name)
        return _read(found[0], None) if found else None

    # writing ------------------------------------------------------------------------------------------------

    def _save(self, state: dict[str, Any], name: str) -> None:
        self._end_writing()
        if parts.has_parts(state):
            self.writing = parts.Writing(state, self.folder / name, self._group)
        elif ranks.is_first():
            with atomic_write(self.folder / f"{name}{SUFFIX}") as temporary:
                torch.save(state, temporary)
                self._make_way(name)

    @functools.cached_property
    def _group(self) -> Any:
        return parts.group()

    def _end_writing(self) -> None:
        if self.writing is None:
            return
        whole, folder, self.writing = self.writing.finish(), self.writing.folder, None
        if whole is not None:
            with told(folder):
                self._make_way(folder.name)
                os.replace(whole, folder)
                sync(self.folder)
                folder.with_suffix(SUFFIX).unlink(missing_ok=True)
                if folder.name != LAST:
                    self._remove(BEHIND[folder.name])

    def _make_way(self, name: str) -> None:
        """Gives what has a name now that of what is behind it; at any moment one of both is there, whole. A
        best file stays until another takes its place."""
        folder, file = self._both(name)
        folder_behind, file_behind = self._both(BEHIND[name])
        if folder.exists():
            self._remove(BEHIND[name])
            os.replace(folder, folder_behind)
        elif name == LAST and file.exists():
            os.replace(self._copy_of(file), file_behind)
            shutil.rmtree(folder_behind, ignore_errors=True)

    def _remove(self, name: str) -> None:
        folder, file = self._both(name)
        file.unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)

    def _both(self, name: str) -> tuple[Path, Path]:
        """The two places that a checkpoint of that name may lie in: its folder and its file."""
        return self.folder / name, self.folder / f"{name}{SUFFIX}"

    def _newest_first(self, name: str) -> list[Path]:
        return [path for one in (name, BEHIND[name]) for path in self._both(one) if path.exists()]

    def _copy_of(self, file: Path) -> Path:
        copy = self.folder / f"{unfinished(Path(BEHIND[LAST]))}.new"
        copy.unlink(missing_ok=True)
        try:
            os.link(file, copy)
        except OSError:  # a file system without hard links
            shutil.copyfile(file, copy)
        return copy


def _read(path: Path, layout: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if path.is_dir():
        return parts.read(path, layout or {})
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the reader raise anything
        if is_out_of_memory(error) or isinstance(error, PermissionError):
            raise  # the file may be whole
        return None
