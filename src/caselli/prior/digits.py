"""Codes as digits: numbers of a mixed radix, such as bits, and their embedding without a table of codes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.prior.config import Alphabet
from caselli.shapes import Float, Int, Tensor


class Digits(nn.Module):
    r"""A code as D digits, the most significant first.

    .. math:: x = \sum_j d_j \prod_{i > j} L_i, \qquad 0 \le d_j < L_j

    Arguments:
        levels: L of each digit.

    Example:
        >>> digits = Digits((2, 3))
        >>> digits.split(torch.tensor([5])), digits.join(torch.tensor([[1, 2]]))
        (tensor([[1, 2]]), tensor([5]))
    """

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(levels)
        radix = [math.prod(self.levels[j + 1 :]) for j in range(len(self.levels))]
        self.register_buffer("radix", torch.tensor(radix, dtype=torch.int64), persistent=False)
        self.register_buffer("level", torch.tensor(self.levels, dtype=torch.int64), persistent=False)
        there = torch.arange(max(self.levels)) < self.level[:, None]
        place = torch.where(there, there.flatten().cumsum(0).view(there.shape) - 1, sum(self.levels))
        self.register_buffer("place", place.flatten(), persistent=False)

    def split(self, codes: Int[Tensor, "*A"]) -> Int[Tensor, "*A D"]:
        """Digits of codes."""
        return codes[..., None] // self.radix % self.level

    def join(self, digits: Int[Tensor, "*A D"]) -> Int[Tensor, "*A"]:
        """Codes of digits."""
        return (digits * self.radix).sum(-1)

    def scaled(self, digits: Int[Tensor, "*A D"], like: Tensor) -> Float[Tensor, "*A D"]:
        """Digits on [−1, 1], ends included: bits become signs."""
        return 2 * digits.to(like.dtype) / (self.level - 1) - 1

    def padded(self, x: Float[Tensor, "*A L"]) -> Float[Tensor, "*A D most"]:
        """Logits of all digits' levels side by side as a row for each digit, −∞ behind its levels.

        Example:
            >>> Digits((2, 1)).padded(torch.tensor([1.0, 2.0, 3.0]))
            tensor([[1., 2.],
                    [3., -inf]])
        """
        if len(set(self.levels)) > 1:
            x = F.pad(x, (0, 1), value=-torch.inf).index_select(-1, self.place)
        return x.unflatten(-1, (len(self.levels), -1))


class DigitEmbedding(nn.Module):
    r"""Vectors of codes by a linear map of their digits: D + 1 rows a codebook instead of K.

    .. math:: \frac1{\sqrt{D + 1}} \Bigl(b + \sum_j s_j w_j\Bigr), \qquad
        s_j = \frac{2 d_j}{L_j - 1} - 1

    Arguments:
        levels: L of each digit; all codebooks have the same.
        books: number of codebooks.
        width: E.

    Source: Weber et al. 2024, MaskBit: Embedding-free Image Generation via Bit Tokens.

    Example:
        >>> DigitEmbedding((2,) * 32, 1, 8)(torch.tensor([[2**32 - 1]])).shape
        torch.Size([1, 1, 8])
    """

    def __init__(self, levels: Sequence[int], books: int, width: int) -> None:
        super().__init__()
        self.digits, self.books, self.size = Digits(levels), books, math.prod(levels)
        self.weight = nn.Parameter(torch.randn(books, len(levels) + 1, width))

    def forward(self, entries: Int[Tensor, "*A"]) -> Float[Tensor, "*A E"]:
        digits = self.digits.scaled(self.digits.split(entries % self.size), self.weight)
        x = torch.cat((digits, torch.ones_like(digits[..., :1])), -1) / digits.shape[-1] ** 0.5
        if self.books > 1:
            books = torch.arange(self.books, device=entries.device)
            own = (entries // self.size)[..., None] == books
            x = (x[..., None, :] * own[..., None]).flatten(-2)
        return x @ self.weight.flatten(0, 1)


class BookBias(nn.Module):
    """Adds a vector of each slot's codebook, where there are several.

    Arguments:
        alphabet: slots and codebooks.
        width: of the vectors.
    """

    def __init__(self, alphabet: Alphabet, width: int) -> None:
        super().__init__()
        several = len(alphabet.sizes) > 1
        self.weight = nn.Parameter(torch.zeros(len(alphabet.sizes), width)) if several else None
        self.register_buffer("book", torch.tensor(alphabet.codebooks), persistent=False)

    def forward(self, y: Float[Tensor, "*A F"], slots) -> Float[Tensor, "*A F"]:
        return y if self.weight is None else y + self.weight[self.book[slots]]


def digit_embedding(alphabet: Alphabet, width: int, null: bool = False) -> DigitEmbedding:
    """`DigitEmbedding` of an alphabet, with another codebook behind the last for `null`."""
    return DigitEmbedding(levels_of(alphabet), len(alphabet.sizes) + null, width)


def levels_of(alphabet: Alphabet) -> tuple[int, ...]:
    """Levels of the digits of an alphabet's codes.

    Errors: `UserError` for codes that are mere numbers, or of which some slots have fewer.
    """
    if not alphabet.levels:
        raise UserError(
            "a head of bits was given for codes that have none",
            "codes of the quantizer lfq, bsq or fsq were expected",
            "train the tokenizer with --tokenizer.quantizer bsq, or leave --prior.head at softmax",
        )
    return alphabet.levels


def in_groups(levels: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """Digits in as few groups of neighbours as can be, each with at most `most` values (or a single digit),
    the largest group as small as possible.

    Example:
        >>> in_groups((2,) * 10, 256)
        [(2, 2, 2, 2, 2), (2, 2, 2, 2, 2)]
        >>> in_groups((8, 8, 8, 5, 5), 256)
        [(8, 8), (8, 5, 5)]
    """

    def greedy(most: int) -> list[tuple[int, ...]]:
        groups: list[tuple[int, ...]] = []
        for level in levels:
            if groups and math.prod(groups[-1]) * level <= most:
                groups[-1] = (*groups[-1], level)
            else:
                groups.append((level,))
        return groups

    number = len(greedy(most))
    return greedy(
        min(size for size in range(max(levels), max(most, *levels) + 1) if len(greedy(size)) == number)
    )
