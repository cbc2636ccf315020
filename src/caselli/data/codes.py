"""The codes of a whole set, stamped with the tokenizer that made them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from caselli.data.shuffle import Shares, drawn_captions, picked
from caselli.errors import UserError, is_out_of_memory
from caselli.files import read_tensors, write_tensors
from caselli.shapes import Float, Int, Shaped, Tensor

KIND = "caselli codes"
VERSION = 1
STAMP = ("sizes", "classes", "tokenizer", "data")
"""Fields of the file's metadata, beside kind and version."""
TEXTS = ("names", "captions", "all_captions")
"""Tensors of the file that are texts; names are always there."""


@dataclasses.dataclass(frozen=True)
class CodeBatch:
    """Codes of one step, with the labels and captions of their pictures."""

    codes: Int[Tensor, "B *S"]
    """int64; `B Q *S` with several codebooks."""
    labels: Int[Tensor, "B"] | None
    captions: tuple[str, ...] | None
    indices: Int[Tensor, "B"]
    """Numbers of the pictures in the store."""
    condition: Int[Tensor, "B P"] | None = None
    """Codes of another picture that belongs to each."""


class CodeStore:
    """Codes of every picture of a set, with the pictures' labels and captions. Immutable.

    Arguments:
        codes: `n *S` from one codebook, `n Q *S` from Q > 1; any integer type. They are kept and stored in
            the smallest type that holds them, and are int64 when read.
        sizes: the number of codes of each codebook, Q of them.
        tokenizer: fingerprint of the tokenizer that made the codes.
        data: fingerprint of the set of pictures.
        labels: n indices of `classes`, −1 for a picture without; or None.
        classes: names of the classes; empty without labels.
        captions: n captions, or None.
        all_captions: n tuples of captions, where some pictures have several.
        names: n names of pictures; may be left empty.
        condition: `n P` codes of another picture that belongs to each, by the same tokenizer, or None.

    Raises:
        UserError: a code lies beyond its codebook, or the numbers of things do not agree.

    Example:
        >>> store = CodeStore(torch.tensor([[0, 3], [1, 2]]), sizes=(4,), tokenizer="t", data="d")
        >>> len(store), store.read(torch.tensor([1]))
        (2, tensor([[1, 2]]))
    """

    def __init__(
        self,
        codes: Shaped[Tensor, "n *S"],
        *,
        sizes: Sequence[int],
        tokenizer: str,
        data: str,
        labels: Int[Tensor, "n"] | None = None,
        classes: Sequence[str] = (),
        captions: Sequence[str] | None = None,
        all_captions: Sequence[Sequence[str]] | None = None,
        names: Sequence[str] = (),
        condition: Shaped[Tensor, "n P"] | None = None,
    ) -> None:
        self.sizes, self.classes, self.names = tuple(sizes), tuple(classes), tuple(names)
        self.tokenizer, self.data = tokenizer, data
        self.captions = None if captions is None else tuple(captions)
        self.all_captions = None if all_captions is None else tuple(map(tuple, all_captions))
        self.labels = None if labels is None else labels.cpu().long()
        self.condition = None if condition is None else condition.cpu().to(smallest_type(max(self.sizes)))
        _check(self, codes)
        self.packed = codes.cpu().to(smallest_type(max(self.sizes)))
        """The codes in the smallest type; `codes` and `read` give int64."""

    @property
    def codes(self) -> Int[Tensor, "n *S"]:
        """All codes as int64: a copy, eight bytes a code."""
        return self.packed.long()

    def __len__(self) -> int:
        return len(self.packed)

    def order(self, batch: int, seed: int, rank: int, ranks: int) -> Shares:
        """The order in which batches of the set are read."""
        return Shares(len(self), batch, seed, rank, ranks)

    def read(self, indices: Int[Tensor, "n"]) -> Int[Tensor, "n *S"]:
        """The codes of those pictures, int64."""
        return self.packed[indices].long()

    def stream(self, requests: Iterable[Int[Tensor, "n"]]) -> Iterator[Int[Tensor, "n *S"]]:
        """`read` of each request in turn."""
        yield from map(self.read, requests)

    def batch(self, indices: Int[Tensor, "n"]) -> CodeBatch:
        """The codes of those pictures, with their labels, captions and conditions."""
        return self.assemble(indices, self.read(indices), None, None)

    def assemble(
        self,
        indices: Int[Tensor, "n"],
        read: Int[Tensor, "n *S"],
        moves: None,
        lots: Float[Tensor, "n"] | None,
    ) -> CodeBatch:
        """The batch of codes that have been read; codes cannot be moved, lots in [0, 1) choose among several
        captions."""
        assert moves is None, "codes cannot be augmented"
        captions = drawn_captions(self.captions, self.all_captions, indices, lots)
        known = picked(self.labels, indices), captions
        condition = None if self.condition is None else self.condition[indices].long()
        return CodeBatch(read, *known, indices, condition)

    def occurrences(self, code: int, codebook: int = 0, most: int | None = None) -> Int[Tensor, "m 2"]:
        """Places at which a code occurs: the picture, and the index of the place in its codes, flattened.

        Arguments:
            code: 0 … K − 1.
            codebook: whose code it is, where there are several.
            most: number of places, spread evenly over all; None for all of them.

        Example:
            >>> store = CodeStore(torch.tensor([[0, 3], [3, 2]]), sizes=(4,), tokenizer="t", data="d")
            >>> store.occurrences(3).tolist()
            [[0, 1], [1, 0]]
        """
        own = self.packed[:, codebook] if len(self.sizes) > 1 else self.packed
        places = (own.flatten(1) == code).nonzero()
        if most is not None and len(places) > most:
            places = places[torch.linspace(0, len(places) - 1, most).long()]
        first = codebook * own[0].numel()
        return places + torch.tensor([0, first])

    def subset(self, indices: Int[Tensor, "n"]) -> CodeStore:
        """A store of those pictures alone, in that order."""
        return CodeStore(
            self.packed[indices],
            sizes=self.sizes,
            tokenizer=self.tokenizer,
            data=self.data,
            labels=picked(self.labels, indices),
            classes=self.classes,
            captions=picked(self.captions, indices),
            all_captions=picked(self.all_captions, indices),
            names=picked(self.names, indices) if self.names else (),
            condition=picked(self.condition, indices),
        )

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file, whole or not at all.

        Raises:
            UserError: the place cannot be written.
        """
        tensors = {"codes": self.packed, "names": _as_tensor(self.names)}
        if self.labels is not None:
            tensors["labels"] = self.labels
        if self.captions is not None:
            tensors["captions"] = _as_tensor(self.captions)
        if self.all_captions is not None:
            tensors["all_captions"] = _as_tensor(self.all_captions)
        if self.condition is not None:
            tensors["condition"] = self.condition
        stamp = {name: getattr(self, name) for name in STAMP}
        write_tensors(path, tensors, {"kind": KIND, "version": str(VERSION), "stamp": json.dumps(stamp)})

    @staticmethod
    def load(path: str | Path, tokenizer: str | None) -> CodeStore:
        """Reads what `save` wrote.

        Arguments:
            path: the file.
            tokenizer: the fingerprint that the codes must bear; None takes any.

        Raises:
            UserError: there is no such file, it is cut short or something else, or its codes were made by
                another tokenizer.
        """
        try:
            return CodeStore._of_parts(path, tokenizer, *_read(Path(path)))
        except UserError:
            raise
        except Exception as error:  # fields that are missing, too many, or of another kind
            if is_out_of_memory(error):
                raise
            raise UserError(
                f"{path} is no whole store of codes ({type(error).__name__}: {error})",
                remedy="make it again by `caselli encode`",
            ) from error

    @staticmethod
    def _of_parts(
        path: str | Path, tokenizer: str | None, stamp: dict[str, Any], tensors: dict[str, Tensor]
    ) -> CodeStore:
        """The store of a file's contents, whatever they are."""
        if tokenizer is not None and stamp["tokenizer"] != tokenizer:
            raise UserError(
                f"{path} holds codes of another tokenizer ({stamp['tokenizer']})",
                f"codes of the tokenizer {tokenizer} were expected",
                "encode the pictures again with this tokenizer",
            )
        texts = {name: _as_texts(tensors[name]) for name in TEXTS if name in tensors}
        others = {name: tensors.get(name) for name in ("labels", "condition")}
        return CodeStore(tensors["codes"], **others, **texts, **stamp)


def smallest_type(size: int) -> torch.dtype:
    """The smallest integer type that holds 0 … size − 1.

    Example:
        >>> smallest_type(256), smallest_type(1024), smallest_type(1 << 18)
        (torch.uint8, torch.uint16, torch.int32)
    """
    limits = {torch.uint8: 1 << 8, torch.uint16: 1 << 16, torch.int32: 1 << 31}
    return next((dtype for dtype, limit in limits.items() if size <= limit), torch.int64)


def _check(store: CodeStore, codes: Tensor) -> None:
    books = codes.unbind(1) if len(store.sizes) > 1 else (codes,)
    if len(books) != len(store.sizes):
        raise UserError(f"codes of {len(books)} codebooks were given", f"{len(store.sizes)} were expected")
    for book, size in zip(books, store.sizes, strict=True):
        wide = book.long() if book.numel() else torch.zeros(1)
        if wide.min() < 0 or wide.max() >= size:
            raise UserError(f"the codes lie in {wide.min()} … {wide.max()}", f"0 … {size - 1} was expected")
    counts = {"labels": store.labels, "captions": store.captions, "names": store.names or None}
    counts["lists of captions"] = store.all_captions
    counts["conditions"] = store.condition
    for what, values in counts.items():
        if values is not None and len(values) != len(codes):
            raise UserError(f"{len(values)} {what} were given", f"one for each of {len(codes)} pictures")
    labels = store.labels
    if labels is not None and len(labels) and not -1 <= labels.min() <= labels.max() < len(store.classes):
        raise UserError(
            f"the labels lie in {labels.min()} … {labels.max()}",
            f"indices of the {len(store.classes)} classes, or −1 for none, were expected",
        )


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    tensors, metadata = read_tensors(path, "a store of codes, of `caselli encode`, was expected")
    if (metadata.get("kind"), metadata.get("version")) != (KIND, str(VERSION)):
        raise UserError(
            f"{path} is no store of codes of version {VERSION}", remedy="make one by `caselli encode`"
        )
    return json.loads(metadata["stamp"]), tensors


def _as_tensor(texts: Sequence[str] | Sequence[Sequence[str]]) -> Shaped[Tensor, "bytes"]:
    """Texts as bytes of JSON: the header of a safetensors file has no room for a million names."""
    return torch.from_numpy(np.frombuffer(json.dumps(texts).encode(), dtype=np.uint8).copy())


def _as_texts(tensor: Shaped[Tensor, "bytes"]) -> list[str]:
    return json.loads(tensor.numpy().tobytes())
