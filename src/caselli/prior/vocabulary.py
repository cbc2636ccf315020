"""Captions as numbers: bytes, words, or the tokens of a pretrained encoder."""

from __future__ import annotations

import collections
import dataclasses
import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from caselli.errors import UserError
from caselli.prior.pretrained import Features, FrozenEncoder, load_encoder, load_tokenizer
from caselli.shapes import Int, Tensor

UNKNOWN = 1
"""Number that stands for a word unseen in training."""
MOST_WORDS = 20_000
"""Largest number of words of a vocabulary; the rarest are left out."""


@dataclasses.dataclass(frozen=True)
class Vocabulary(ABC):
    """A map from captions to rows of L numbers: 0 behind a caption's end, so a row of zeros is no caption.

    A vocabulary extends this class, is final, and is plain data: a run keeps it beside its weights. One whose
    words have several numbers each says how many.
    """

    each: ClassVar[int] = 1
    """Numbers n of a word."""
    length: int
    """L, the number of words, or bytes or tokens; longer captions are cut."""

    @property
    def size(self) -> int:
        """Numbers of a row, n L."""
        return self.each * self.length

    @abstractmethod
    def numbers(self, caption: str) -> list[int]:
        """Numbers of a caption, from 1 on, at least as many as are kept; n for each word, the first not 0."""

    @abstractmethod
    def embedding(self, width: int) -> nn.Module:
        """A module that turns numbers `B n·L` into vectors `B L width`."""

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

    def encode(self, captions: Sequence[str]) -> Int[Tensor, "B n·L"]:
        """The captions' numbers; an empty caption is none.

        Example:
            >>> Bytes(4).encode(["hi", ""])
            tensor([[105, 106,   0,   0],
                    [  0,   0,   0,   0]])
        """
        text = torch.zeros(len(captions), self.size, dtype=torch.int64)
        for row, caption in zip(text, captions, strict=True):
            numbers = self.numbers(caption)[: self.size] if caption.strip() else []
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
        counts = collections.Counter(word for caption in captions for word in words_of(caption))
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(length, tuple(ordered[:MOST_WORDS]))

    def grown(self, captions: Sequence[str]) -> Words:
        new = [word for word in Words.of(captions, self.length).words if word not in self._number_of]
        room = max(0, MOST_WORDS - len(self.words))
        return dataclasses.replace(self, words=(*self.words, *new[:room]))

    def numbers(self, caption: str) -> list[int]:
        return [self._number_of.get(word, UNKNOWN) for word in words_of(caption)]

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


def words_of(caption: str) -> list[str]:
    """The words of a caption in lower case, and its punctuation.

    Example:
        >>> words_of("A cat, a dog")
        ['a', 'cat', ',', 'a', 'dog']
    """
    return re.findall(r"\w+|[^\w\s]", caption.lower())
