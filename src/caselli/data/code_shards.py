"""Codes in memory-mapped shards: as many as a disk holds, none of them in memory until they are read."""

from __future__ import annotations

import bisect
import functools
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from caselli.data.codes import CodeBatch, CodeStore
from caselli.data.shuffle import Shares
from caselli.errors import UserError
from caselli.files import atomic_write, write_text
from caselli.shapes import Float, Int, Shaped, Tensor

STAMP = "codes.json"
"""File of a folder of shards that says what they are; written when the last one is there."""
ARRAYS = ("codes", "labels", "condition", "captions", "ends")
"""Arrays of a shard, each a file: codes and labels, another picture's codes, captions as bytes and where each
ends."""

MAPPED = 200
"""Shards that are mapped at a time: each array holds a file open, of which a process may have a thousand."""


class CodeShards:
    """The codes of a whole set in a folder of shards, read by memory mapping.

    Arguments:
        folder: as `write_shard` and `finish_shards` leave it.
        tokenizer: the fingerprint that the codes must bear; None takes any.

    Errors: `UserError` for a folder that is not finished, is damaged, or holds another tokenizer's codes.
    """

    all_captions = None

    def __init__(self, folder: str | Path, tokenizer: str | None) -> None:
        self.folder = Path(folder)
        stamp = stamp_of(self.folder)
        if stamp is None:
            raise UserError(f"{folder} holds no finished codes", "a folder of shards was expected")
        if tokenizer is not None and stamp["tokenizer"] != tokenizer:
            raise UserError(
                f"{folder} holds codes of another tokenizer ({stamp['tokenizer']})",
                f"codes of the tokenizer {tokenizer} were expected",
                "encode the pictures again with this tokenizer",
            )
        self.sizes, self.classes = tuple(stamp["sizes"]), tuple(stamp["classes"])
        self.tokenizer, self.data = stamp["tokenizer"], stamp["data"]
        self.firsts = [0, *itertools.accumulate(stamp["counts"])]
        self.shard = functools.lru_cache(MAPPED)(functools.partial(_mapped, self.folder))
        """A shard's arrays by its number."""
        self.count = len(stamp["counts"])
        for number in range(self.count):
            _mapped(self.folder, number)  # all are there

    def __len__(self) -> int:
        return self.firsts[-1]

    def order(self, batch: int, seed: int, rank: int, ranks: int) -> Shares:
        """The order in which batches of the set are read."""
        return Shares(len(self), batch, seed, rank, ranks)

    def read(self, indices: Int[Tensor, "n"]) -> Int[Tensor, "n *S"]:
        """The codes of those pictures, int64."""
        return self._picked("codes", indices)

    def stream(self, requests: Iterable[Int[Tensor, "n"]]) -> Iterator[Int[Tensor, "n *S"]]:
        """`read` of each request in turn."""
        yield from map(self.read, requests)

    def batch(self, indices: Int[Tensor, "n"]) -> CodeBatch:
        """The codes of those pictures, with their labels, captions and conditions."""
        return self.assemble(indices, self.read(indices), None, None)

    def assemble(
        self, indices: Int[Tensor, "n"], read: Tensor, moves: None, lots: Float[Tensor, "n"] | None
    ) -> CodeBatch:
        """The batch of codes that have been read; codes cannot be moved, and each has one caption."""
        assert moves is None, "codes cannot be augmented"
        labels, condition = (
            self._picked(name, indices) if name in self.shard(0) else None for name in ("labels", "condition")
        )
        captions = None
        if "captions" in self.shard(0):
            captions = tuple(self._caption(number) for number in indices.tolist())
        return CodeBatch(read, labels, captions, indices, condition)

    def whole(self, name: str) -> Shaped[Tensor, "n ..."] | None:
        """One of `ARRAYS` of all shards, in memory and in the type that it is stored in; None where there is
        none."""
        if name not in self.shard(0):
            return None
        return torch.from_numpy(np.concatenate([self.shard(number)[name] for number in range(self.count)]))

    def _picked(self, name: str, indices: Int[Tensor, "n"]) -> Int[Tensor, "n ..."]:
        rows = []
        for number in indices.tolist():
            shard = bisect.bisect_right(self.firsts, number) - 1
            rows.append(self.shard(shard)[name][number - self.firsts[shard]])
        return torch.from_numpy(np.stack(rows).astype(np.int64))

    def _caption(self, number: int) -> str:
        shard = bisect.bisect_right(self.firsts, number) - 1
        within, arrays = number - self.firsts[shard], self.shard(shard)
        first = arrays["ends"][within - 1] if within else 0
        return bytes(arrays["captions"][first : arrays["ends"][within]]).decode()


def write_shard(folder: str | Path, number: int, store: CodeStore) -> None:
    """Writes one shard, whole or not at all: its codes come last."""
    arrays = {"labels": store.labels, "condition": store.condition, "codes": store.packed}
    if store.captions is not None:
        encoded = [caption.encode() for caption in store.captions]
        ends = np.cumsum([len(one) for one in encoded], dtype=np.int64)
        _write(folder, number, "captions", np.frombuffer(b"".join(encoded), dtype=np.uint8))
        _write(folder, number, "ends", ends)
    for name, tensor in arrays.items():
        if tensor is not None:
            _write(folder, number, name, tensor.contiguous().numpy())


def has_shard(folder: str | Path, number: int) -> bool:
    """True where a shard is there, whole."""
    return _path(folder, number, "codes").exists()


def finish_shards(folder: str | Path, count: int, *, sizes: tuple[int, ...], **known: Any) -> None:
    """Writes what the shards are, when all are there: sizes, classes, tokenizer, data."""
    counts = [len(_mapped(Path(folder), number)["codes"]) for number in range(count)]
    write_text(Path(folder) / STAMP, json.dumps({"sizes": sizes, "counts": counts, **known}))


def stamp_of(folder: str | Path) -> dict[str, Any] | None:
    """Sizes, classes, tokenizer, data and counts of a folder of shards; None where it is not finished."""
    try:
        return json.loads((Path(folder) / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _path(folder: str | Path, number: int, name: str) -> Path:
    return Path(folder) / f"{number:05}-{name}.npy"


def _write(folder: str | Path, number: int, name: str, array: np.ndarray) -> None:
    with atomic_write(_path(folder, number, name)) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _mapped(folder: Path, number: int) -> dict[str, np.ndarray]:
    """Arrays of a shard, none of them read yet."""
    paths = {name: _path(folder, number, name) for name in ARRAYS}
    try:
        found = {n: np.load(p, mmap_mode="r", allow_pickle=False) for n, p in paths.items() if p.exists()}
    except (OSError, ValueError) as error:
        raise UserError(f"a shard of codes in {folder} is damaged ({error})") from None
    if "codes" not in found:
        raise UserError(f"the shard {number} of the codes in {folder} is missing")
    return found
