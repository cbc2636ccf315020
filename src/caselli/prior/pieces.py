"""Words as bags of their parts, so that a word never seen is known by what it shares with others."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Sequence

import torch
from torch import nn

from caselli.prior.vocabulary import MOST_WORDS, UNKNOWN, Vocabulary, words_of
from caselli.shapes import Float, Int, Tensor

LETTERS = (3, 4, 5)
"""Letters of the parts."""


@dataclasses.dataclass(frozen=True)
class Pieces(Vocabulary):
    r"""Words of a caption, each by itself and by its parts of three to five letters.

    .. math:: e(w) = \frac{1}{|G_w|} \sum_{g \in G_w} e_g, \quad
        G_w = \{\text{the word, and its parts that several captions have}\}

    "flags" so lies near "flag", and nothing need have been seen as a whole. A part of one training caption
    alone says nothing and is left out; a word without any known part is the unknown one.

    Source: Bojanowski et al. 2017, Enriching Word Vectors with Subword Information.

    Example:
        >>> known = Pieces.of(["red flag", "crossed flags", "a red ship"], length=2)
        >>> known.pieces[:5]
        ('ed>', '<fl', '<fla', '<flag', '<re')
        >>> known.embedding(8)(known.encode(["a flagship"])).shape
        torch.Size([1, 2, 8])
    """

    each = 24
    pieces: tuple[str, ...]
    """The most frequent first."""

    @classmethod
    def of(cls, captions: Sequence[str], length: int) -> Pieces:
        """The vocabulary of a set of captions."""
        counts: collections.Counter[str] = collections.Counter()
        for caption in captions:
            counts.update({piece for word in words_of(caption) for piece in parts_of(word)})
        shared = (piece for piece, count in counts.items() if count > 1)
        return cls(length, tuple(sorted(shared, key=lambda piece: (-counts[piece], piece))[:MOST_WORDS]))

    def numbers(self, caption: str) -> list[int]:
        numbers = []
        for word in words_of(caption):
            own = [self._number_of[piece] for piece in parts_of(word) if piece in self._number_of]
            own = (own or [UNKNOWN])[: self.each]
            numbers += own + [0] * (self.each - len(own))
        return numbers

    @functools.cached_property
    def _number_of(self) -> dict[str, int]:
        return {piece: number for number, piece in enumerate(self.pieces, start=UNKNOWN + 1)}

    def embedding(self, width: int) -> nn.Module:
        return Bags(len(self.pieces) + 2, width, self.each)


class Bags(nn.Embedding):
    """Vectors of bags of n numbers, the means of their vectors; 0 is nothing.

    Arguments:
        count: of numbers.
        width: of the vectors.
        each: n.
    """

    def __init__(self, count: int, width: int, each: int) -> None:
        super().__init__(count, width)
        self.each = each

    def forward(self, numbers: Int[Tensor, "B n·L"]) -> Float[Tensor, "B L width"]:
        known = (numbers > 0).unflatten(1, (-1, self.each))[..., None]
        vectors = super().forward(numbers).unflatten(1, (-1, self.each))
        return torch.where(known, vectors, 0).sum(2) / known.sum(2).clamp_min(1)


def parts_of(word: str) -> list[str]:
    """The word between marks of its beginning and end, then its parts, the longest first.

    Example:
        >>> parts_of("cat")
        ['<cat>', '<cat', 'cat>', '<ca', 'cat', 'at>']
    """
    whole = f"<{word}>"
    parts = (whole[at : at + n] for n in reversed(LETTERS) for at in range(len(whole) - n + 1))
    return list(dict.fromkeys((whole, *parts)))
