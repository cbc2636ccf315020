"""Packed sequences: where each token's own one begins, and the same tokens with a row for each sequence."""

from __future__ import annotations

import dataclasses

import torch

from caselli.shapes import Bool, Float, Int, Tensor


def begins(
    starts: Bool[Tensor, "B T"] | None, begin: Int[Tensor, "B"], first: int, length: int
) -> Int[Tensor, "B T"]:
    """The index of the first token of each token's sequence.

    Arguments:
        starts: where sequences begin; none where none does.
        begin: where the sequence that is under way began.
        first: index of the first token given here.
        length: T.

    Example:
        >>> begins(torch.tensor([[False, True, False]]), torch.tensor([0]), 5, 3)
        tensor([[0, 6, 6]])
    """
    if starts is None:
        return begin[:, None].expand(-1, length)
    index = torch.arange(first, first + length, device=begin.device)
    return torch.where(starts, index, begin[:, None]).cummax(1).values


def sequence_lengths(begin: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """Length of the sequence that each token is in, where the rows are whole.

    Example:
        >>> sequence_lengths(torch.tensor([[0, 1, 1]]))
        tensor([[1, 2, 2]])
    """
    counts = torch.zeros_like(begin).scatter_add(1, begin, torch.ones_like(begin))
    return counts.gather(1, begin)


@dataclasses.dataclass(frozen=True)
class Unpacked:
    """The map between `B T` packed rows and `R L` rows of one sequence each, which is to be filled up."""

    row: Int[Tensor, "B T"]
    place: Int[Tensor, "B T"]
    lengths: Int[Tensor, "R"]

    @staticmethod
    def of(starts: Bool[Tensor, "B T"]) -> Unpacked:
        """Token 0 of each row begins a sequence whether or not it is marked.

        Example:
            >>> map = Unpacked.of(torch.tensor([[False, True, False]]))
            >>> map.row, map.place, map.lengths
            (tensor([[0, 1, 1]]), tensor([[0, 0, 1]]), tensor([1, 2]))
        """
        starts = starts.clone()
        starts[:, 0] = True
        begin = begins(starts, starts.new_zeros(len(starts), dtype=torch.int64), 0, starts.shape[1])
        row = starts.flatten().cumsum(0).view_as(starts) - 1
        place = torch.arange(starts.shape[1], device=starts.device) - begin
        return Unpacked(row, place, torch.bincount(row.flatten()))

    def unpack(self, x: Float[Tensor, "B T *S"]) -> Float[Tensor, "R L *S"]:
        """A row for each sequence, zeros behind it."""
        rows = x.new_zeros(len(self.lengths), int(self.lengths.max()), *x.shape[2:])
        return rows.index_put((self.row, self.place), x)

    def pack(self, x: Float[Tensor, "R L *S"]) -> Float[Tensor, "B T *S"]:
        """The inverse of `unpack`."""
        return x[self.row, self.place]
