"""Things that all pages share: the folder, and the trained runs that are in memory."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from caselli.data import CodeStore
from caselli.engine import on_device
from caselli.errors import UserError
from caselli.model import CodeFields, Model
from caselli.prior import Conditions
from caselli.run import load
from caselli.shapes import Int, Tensor
from caselli.studio.jail import Jail
from caselli.studio.works import Works
from caselli.trained import Trained

MARK = "run.yaml"
"""File that makes a folder a run."""
LOADED = 4
"""Runs in memory at a time, at most."""


class Once:
    """Values by name, each made at its first call; making one holds up nobody who asks for another."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def __call__(self, name: str, make: Callable[[], Any]) -> Any:
        """The result of `make`; where it raises, the next call tries again."""
        with self._lock:
            own = self._locks.setdefault(name, threading.Lock())
        with own:
            if name not in self._made:
                self._made[name] = make()
            return self._made[name]


class Loaded:
    """A run, and what is made of it once; it is loaded when it is first asked for.

    Arguments:
        folder: the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.once = folder, Once()
        self._engines: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @property
    def trained(self) -> Trained:
        """The trained network.

        Errors: `UserError` for a run that cannot be loaded.
        """
        return self.once("trained", lambda: on_device(load(self.folder)))

    def model(self) -> Model:
        """The tokenizer with its prior.

        Errors: `UserError` for a run of another kind.
        """
        if self.trained.grid is not None:
            return self.trained
        raise UserError(f"{self.trained.title} was given", "a run with a tokenizer was expected")

    @contextmanager
    def engine(self) -> Iterator[Any]:
        """An engine that nobody else draws with at the same time; None for runs that draw at once."""
        try:
            engine = self._engines.get_nowait()
        except queue.Empty:
            engine = self.trained.engine()[0]
        try:
            yield engine
        finally:
            self._engines.put(engine)

    def fields(self) -> CodeFields:
        """Fields of the codes."""
        return self.once("fields", lambda: CodeFields(self.model()))

    def codes(self, split: str) -> CodeStore:
        """The codes of the training or the held-out pictures.

        Errors: `UserError` for a run that keeps none, or those of another tokenizer.
        """
        path, model = self.folder / "codes" / f"{split}.safetensors", self.model()
        if not path.exists():
            raise UserError(f"this run keeps no codes of its {split} pictures", "an uploaded picture will do")
        return self.once(split, lambda: CodeStore.load(path, model.tokenizer.fingerprint()))

    def grid_codes(self, given: Sequence[Sequence[int]]) -> Int[Tensor, "B *grid"]:
        """Codes of pictures as the browser sends them, one list each, checked.

        Errors: `UserError` for another number of codes, or codes out of range.
        """
        model = self.model()
        grid, sizes = model.grid, model.tokenizer.quantizer.sizes
        if not given or any(len(codes) != grid.length for codes in given):
            raise UserError("codes of another run were sent", f"{grid.length} for each picture were expected")
        codes = torch.tensor(list(given)).unflatten(1, grid.shape)
        books = codes if grid.codebooks > 1 else codes[:, None]
        most = torch.tensor(sizes).view(1, -1, *[1] * (books.dim() - 2))
        if not bool(((books >= 0) & (books < most)).all()):
            raise UserError("a code out of range was sent", f"0 to {max(sizes) - 1} was expected")
        return codes


@dataclasses.dataclass
class Studio:
    """The folder of runs, the runs in memory, and the works under way; every page asks it."""

    jail: Jail
    works: Works = dataclasses.field(default_factory=Works)
    _loaded: OrderedDict[tuple, Loaded] = dataclasses.field(default_factory=OrderedDict)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def folder(self, run: str) -> Path:
        """The folder of a run.

        Errors: `UserError` for a name that is no run in the folder of runs.
        """
        return self.jail.folder(run, MARK)

    def loaded(self, run: str) -> Loaded:
        """A run in memory, loaded anew where its files have changed."""
        folder = self.folder(run)
        key = (folder, *sorted((p.name, p.stat().st_mtime_ns) for p in folder.glob("*.safetensors")))
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = Loaded(folder)
                while len(self._loaded) > LOADED:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return self._loaded[key]

    def trained(self, run: str) -> Trained:
        """The trained network of a run."""
        return self.loaded(run).trained


def conditions(model: Model, count: int, label: str | None, text: str | None) -> Conditions:
    """Conditions of `count` pictures; empty words stand for none."""
    return model.conditions(count, label or None, text or None)
