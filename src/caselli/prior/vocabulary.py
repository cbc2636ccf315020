"""Captions as numbers: bytes, words, or the tokens of a pretrained encoder."""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from caselli.errors import UserError, lookup
from caselli.plain import of_plain, to_plain
from caselli.prior.pretrained import Features, FrozenEncoder, load_encoder, load_tokenizer, weights_digest
from caselli.shapes import Int, Tensor

_MOST_WORDS = 20_000
"""Largest number of words of a vocabulary; the rarest are left out."""


@dataclasses.dataclass(frozen=True)
class Vocabulary(ABC):
    """A map from captions to rows of L numbers: 0 behind a caption's end, so a row of zeros is no caption.

    A vocabulary extends this class, is final, and is plain data: a run keeps it beside its weights.
    """

    length: int
    """L; longer captions are cut."""

    @abstractmethod
    def numbers(self, caption: str) -> list[int]:
        """Numbers of a caption, from 1 on, at least as many as are kept."""

    @abstractmethod
    def embedding(self, width: int) -> nn.Module:
        """A module that turns numbers `B L` into vectors `B L width`."""

    def encoder(self) -> FrozenEncoder:
        """The pretrained encoder of the captions.

        Errors: `UserError` for a vocabulary without one.
        """
        raise UserError(
            f"text_form tokens was given with captions as {type(self).__name__.lower()}",
            "a pretrained text encoder was expected",
            "take --prior.text transformers, or text_form summary",
        )

    def grown(self, captions: Sequence[str]) -> Vocabulary:
        """The vocabulary with what further captions need, behind what it has; itself where it has all."""
        return self

    def encode(self, captions: Sequence[str]) -> Int[Tensor, "B L"]:
        """The captions' numbers; an empty caption is none.

        Example:
            >>> Bytes(4).encode(["hi", ""])
            tensor([[105, 106,   0,   0],
                    [  0,   0,   0,   0]])
        """
        text = torch.zeros(len(captions), self.length, dtype=torch.int64)
        for row, caption in zip(text, captions, strict=True):
            numbers = self.numbers(caption)[: self.length] if caption.strip() else []
            row[: len(numbers)] = torch.tensor(numbers, dtype=torch.int64)
        return text


@dataclasses.dataclass(frozen=True)
class Bytes(Vocabulary):
    """The bytes of a caption in UTF-8: any language, any spelling, no word unknown."""

    def numbers(self, caption: str) -> list[int]:
        return [byte + 1 for byte in caption.encode("utf-8", "replace")]

    def embedding(self, width: int) -> nn.Module:
        return nn.Embedding(257, width)


@dataclasses.dataclass(frozen=True)
class Words(Vocabulary):
    """Words of a caption in lower case, and its punctuation; 1 stands for a word unseen in training.

    Example:
        >>> Words.of(["A cat, a dog"], length=4).words
        ('a', ',', 'cat', 'dog')
        >>> Words.of(["A cat, a dog"], length=4).encode(["a red cat"])
        tensor([[2, 1, 4, 0]])
    """

    words: tuple[str, ...]
    """The most frequent first."""

    @classmethod
    def of(cls, captions: Sequence[str], length: int) -> Words:
        """The vocabulary of a set of captions."""
        counts = collections.Counter(word for caption in captions for word in _words(caption))
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(length, tuple(ordered[:_MOST_WORDS]))

    def grown(self, captions: Sequence[str]) -> Words:
        new = [word for word in Words.of(captions, self.length).words if word not in self._number_of]
        room = max(0, _MOST_WORDS - len(self.words))
        return dataclasses.replace(self, words=(*self.words, *new[:room]))

    def numbers(self, caption: str) -> list[int]:
        return [self._number_of.get(word, 1) for word in _words(caption)]

    @functools.cached_property
    def _number_of(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, start=2)}

    def embedding(self, width: int) -> nn.Module:
        return nn.Embedding(len(self.words) + 2, width)


@dataclasses.dataclass(frozen=True)
class Pretrained(Vocabulary):
    """The tokens of a text encoder of the `transformers` library in a local folder; the encoder is frozen.

    Needs the `text` extra. Only weights in safetensors and plain data are read, nothing is fetched, no code
    of the folder's is run.
    """

    path: str
    """The folder: `config.json`, `model.safetensors` and the tokenizer's files."""
    digest: str
    """Digest of the weights, so that another encoder in the folder is noticed."""

    def numbers(self, caption: str) -> list[int]:
        return [number + 1 for number in load_tokenizer(self.path)(caption, self.length)]

    def embedding(self, width: int) -> nn.Module:
        return Features(self.encoder(), width)

    def encoder(self) -> FrozenEncoder:
        return load_encoder(self.path, self.digest)


VOCABULARIES: dict[str, type[Vocabulary]] = {"bytes": Bytes, "words": Words, "transformers": Pretrained}
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
    if kind is Words:
        return Words.of(captions, length)
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


def _words(caption: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", caption.lower())
