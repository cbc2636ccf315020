"""The use of a codebook: which codes occur, and how evenly."""

from __future__ import annotations

import dataclasses
import math

import torch

from caselli import ranks
from caselli.errors import UserError
from caselli.shapes import Int, Tensor


@dataclasses.dataclass(frozen=True)
class Usage:
    """The use of one codebook."""

    size: int
    """K, the number of codes there are."""
    seen: int
    """Number of codes that were counted."""
    use: float
    """The share of the K codes that occurred at least once, 0 to 1."""
    perplexity: float
    """exp of the entropy: K when all codes occur alike, 1 when there is only one."""
    entropy_bits: float
    """The entropy in bits: what a code costs on average when nothing but its frequency is known."""


LARGEST = 1 << 20
"""Number of codes up to which a codebook has a count of each; of larger ones those that occur are counted."""


def usage(counts: Int[Tensor, "K"], size: int = 0) -> Usage:
    r"""The use of a codebook, from how often each code occurred.

    .. math:: H = -\sum_k p_k \log_2 p_k, \qquad \mathrm{perplexity} = 2^H

    Arguments:
        counts: of each code.
        size: K, where codes that did not occur are left out of the counts.

    Example:
        >>> usage(torch.tensor([2, 2, 0, 0]))
        Usage(size=4, seen=4, use=0.5, perplexity=2.0, entropy_bits=1.0)
    """
    seen = int(counts.sum())
    p = counts.double() / max(seen, 1)
    bits = float(-torch.xlogy(p, p).sum()) / math.log(2)
    bits = max(bits, 0.0)
    size = size or len(counts)
    used = float((counts > 0).double().sum()) / size
    return Usage(size, seen, used, 2**bits, bits)


class CodebookUse:
    """Counts codes over batches, one row of counts per codebook.

    Arguments:
        sizes: the number of codes of each codebook, as a quantizer's `sizes`.

    Example:
        >>> counter = CodebookUse((4,))
        >>> counter.add(torch.tensor([[0, 1], [1, 3]]))
        >>> counter.usages()[0].use
        0.75
    """

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.sizes = tuple(sizes)
        self._counts = [torch.zeros(size if size <= LARGEST else 0, dtype=torch.int64) for size in self.sizes]
        self._seen: list[list[Tensor]] = [[] for _ in self.sizes]

    def add(self, codes: Int[Tensor, "B *S"]) -> None:
        """Counts a batch: `B *S` with one codebook, `B Q *S` with several."""
        many = len(self.sizes) > 1
        if many and (codes.ndim < 2 or codes.shape[1] != len(self.sizes)):
            raise UserError(
                f"codes of shape {tuple(codes.shape)} were given",
                f"B Q *S with Q = {len(self.sizes)} codebooks was expected",
            )
        for q, size in enumerate(self.sizes):
            row = (codes[:, q] if many else codes).reshape(-1)
            if size > LARGEST:
                self._seen[q].append(row.cpu())
                continue
            new = torch.bincount(row, minlength=size)
            if len(new) > size:
                raise UserError(
                    f"code {len(new) - 1} was given", f"0 to {size - 1} was expected in codebook {q}"
                )
            self._counts[q] = self._counts[q].to(new.device) + new

    def join(self) -> None:
        """Takes in what the other ranks counted; all have to call it, once."""
        self._counts = [ranks.total(counts) for counts in self._counts]
        self._seen = [[ranks.join(torch.cat(seen))] if seen else [] for seen in self._seen]

    def counts(self) -> tuple[Int[Tensor, "K"], ...]:
        """Number of times that each code of each codebook occurred; of a codebook of more than `LARGEST`
        codes, those alone that did."""
        return tuple(
            torch.unique(torch.cat(seen), return_counts=True)[1] if seen else counts
            for counts, seen in zip(self._counts, self._seen, strict=True)
        )

    def usages(self) -> tuple[Usage, ...]:
        """The use of each codebook."""
        return tuple(usage(row, size) for row, size in zip(self.counts(), self.sizes, strict=True))

    def together(self) -> Usage:
        """One record for all codebooks: the share of all their codes that occurred, the entropy as bits per
        position (all its codes together), and the perplexity as the geometric mean over codebooks.

        Example:
            >>> counter = CodebookUse((2, 2))
            >>> counter.add(torch.tensor([[[0, 1], [1, 1]]]))
            >>> counter.together().use
            0.75
        """
        parts = self.usages()
        size = sum(part.size for part in parts)
        used = sum(part.use * part.size for part in parts) / size
        bits = sum(part.entropy_bits for part in parts)
        return Usage(size, sum(part.seen for part in parts), used, 2 ** (bits / len(parts)), bits)


def bits_per_picture(positions: int, sizes: tuple[int, ...]) -> float:
    """Bits of one picture's codes when nothing is known of them: positions × Σ log₂ K.

    Example:
        >>> bits_per_picture(16, (1024,))
        160.0
    """
    return positions * sum(math.log2(size) for size in sizes)
