"""Checkpoints in parts: a folder to which every rank writes its own share of the tensors, while training
goes on."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from caselli import ranks
from caselli.engine.sharding import is_part
from caselli.errors import UserError
from caselli.files import UNFINISHED, told, write_text
from caselli.private import tree_leaves
from caselli.shapes import Tensor

NUMBERS = "state.json"
"""File beside the tensors: the numbers of a checkpoint, and how long each of its files is."""


def has_parts(state: Mapping[str, Any]) -> bool:
    """True for a state of which some tensors are shared out over the ranks."""
    return any(map(is_part, tree_leaves(dict(state))))


def group() -> dist.ProcessGroup:
    """All ranks together, apart from the group of their training. Every rank has to call it."""
    return dist.new_group(backend="gloo")


class Writing:
    """A checkpoint on its way to the disk: copied when this is made, written by another thread afterwards.

    Every rank has to make one, and to ask for its end. The folder lies under a name of its own until every
    rank has written; `finish` gives it its own. Files are safetensors.

    Arguments:
        state: names → nested dicts of tensors, and numbers.
        folder: the folder that is to be.
        group: all ranks, for this alone: the step's sums may not mix with those of another thread.
    """

    def __init__(self, state: Mapping[str, Any], folder: Path, group: dist.ProcessGroup) -> None:
        import torch.distributed.checkpoint as distributed

        self.folder, self.unfinished = folder, _unfinished(folder)
        self.numbers = {name: value for name, value in state.items() if not isinstance(value, dict)}
        if ranks.is_first():
            with told(folder):
                self.unfinished.mkdir(parents=True, exist_ok=True)
        writer = distributed.HuggingFaceStorageWriter(str(self.unfinished), save_distributed=True)
        tensors = _flat({name: value for name, value in state.items() if isinstance(value, dict)})
        self.future = distributed.async_save(tensors, storage_writer=writer, process_group=group)

    def is_done(self) -> bool:
        """True where this rank need not wait any more."""
        return self.future.done()

    def finish(self) -> Path | None:
        """Waits until every rank has written. On the first rank, the folder that is whole now; it is to be
        renamed.

        Errors: `UserError` for a full disk, or a place where nothing may be written.
        """
        with told(self.folder):
            _result(self.future.result)
            if not ranks.is_first():
                return None
            files = {path.name: path.stat().st_size for path in self.unfinished.iterdir()}
            write_text(self.unfinished / NUMBERS, json.dumps({"numbers": self.numbers, "files": files}))
        return self.unfinished


def forget_unfinished(folder: Path, *names: str) -> None:
    """Removes checkpoints of those names that a process was killed over, from the folder that they lie in."""
    for name in names:
        shutil.rmtree(_unfinished(folder / name), ignore_errors=True)


def numbers_in(folder: Path) -> dict[str, Any] | None:
    """The numbers of a checkpoint that is whole; None for another one."""
    try:
        known = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
        found = {name: (folder / name).stat().st_size for name in known["files"]}
        return known["numbers"] if found == known["files"] else None
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None


def read(folder: Path, layout: Mapping[str, Any]) -> dict[str, Any] | None:
    """A whole checkpoint as `Writing` was given it; None where it is damaged. All ranks have to call it.

    Arguments:
        folder: what it lies in.
        layout: nested dicts of tensors of which some are shared out. A tensor of the checkpoint is laid out
            as that of its name, or of the name above it, of which it is an average; any other is whole.
    """
    import torch.distributed.checkpoint as distributed

    numbers = numbers_in(folder)
    if numbers is None:
        return None
    reader, known = distributed.HuggingFaceStorageReader(str(folder)), _flat(layout)
    try:
        tensors = {
            name: _room(facts.size, facts.properties.dtype, known.get(name, known.get(_above(name))))
            for name, facts in reader.read_metadata().state_dict_metadata.items()
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that there is but one process
            _result(lambda: distributed.load(tensors, storage_reader=reader, no_dist=ranks.count() == 1))
    except PermissionError:
        raise
    except Exception:  # a damaged file makes the reader raise anything
        return None
    return _nested(tensors) | numbers


def _unfinished(folder: Path) -> Path:
    """The place of a folder until it is whole: one that every rank knows."""
    return folder.with_name(UNFINISHED + folder.name)


def _room(shape: torch.Size, dtype: torch.dtype, like: Tensor | None) -> Tensor:
    """A tensor to be read into."""
    if is_part(like) and like.shape == shape:
        return torch.empty_like(like, dtype=dtype, requires_grad=False)
    return torch.empty(shape, dtype=dtype)


def _result(function: Any) -> Any:
    """The result of a function of torch's checkpoints, whose errors are no `Exception`s."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        return function()
    except CheckpointException as error:
        for cause, _ in error.failures.values():
            if isinstance(cause, OSError | UserError):
                raise cause from None
        raise RuntimeError(str(error)) from None


def _above(name: str) -> str:
    return name.rpartition("/")[0]


def _flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Tensor]:
    """Tensors of nested dicts by their names, joined by strokes.

    Example:
        >>> _flat({"a": {"b.c": 1, "d": {}}})
        {'a/b.c': 1}
    """
    flat: dict[str, Tensor] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{above}{name}/") if isinstance(value, dict) else {above + name: value}
    return flat


def _nested(flat: Mapping[str, Tensor]) -> dict[str, Any]:
    """The nested dicts that `_flat` was given, but for empty ones."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *above, last = name.split("/")
        place = tree
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    return tree
