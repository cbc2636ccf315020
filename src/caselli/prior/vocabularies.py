"""The vocabularies of captions by name, and as the plain data that a run keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caselli.errors import lookup
from caselli.plain import of_plain, to_plain
from caselli.prior.pieces import Pieces
from caselli.prior.pretrained import weights_digest
from caselli.prior.vocabulary import Bytes, Pretrained, Vocabulary, Words

VOCABULARIES: dict[str, type[Vocabulary]] = {
    "bytes": Bytes,
    "words": Words,
    "pieces": Pieces,
    "transformers": Pretrained,
}
"""Name → vocabulary."""


def vocabulary_of(name: str, length: int, path: str, captions: Sequence[str]) -> Vocabulary:
    """A vocabulary of a set of captions.

    Arguments:
        name: in `VOCABULARIES`.
        length: L.
        path: folder of a pretrained encoder.
        captions: those of the pictures to train on.

    Example:
        >>> vocabulary_of("words", 8, "", ["a cat"])
        Words(length=8, words=('a', 'cat'))
    """
    kind = lookup(VOCABULARIES, "text", name)
    if kind in (Words, Pieces):
        return kind.of(captions, length)
    return Pretrained(length, path, weights_digest(path)) if kind is Pretrained else kind(length)


def described_vocabulary(vocabulary: Vocabulary | None) -> dict[str, Any] | None:
    """The vocabulary as plain data, which `read_vocabulary` reads.

    Example:
        >>> read_vocabulary(described_vocabulary(Words(4, ("a", "cat"))))
        Words(length=4, words=('a', 'cat'))
    """
    if vocabulary is None:
        return None
    name = next(name for name, kind in VOCABULARIES.items() if kind is type(vocabulary))
    return {"kind": name, **to_plain(vocabulary)}


def read_vocabulary(described: dict[str, Any] | None) -> Vocabulary | None:
    """The vocabulary of plain data; None of None."""
    if described is None:
        return None
    fields = dict(described)
    return of_plain(lookup(VOCABULARIES, "text", fields.pop("kind")), fields, "text")
