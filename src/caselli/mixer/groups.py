"""Tokens in groups of fixed size, counted from the beginning of each sequence; a group under way goes on."""

from __future__ import annotations

import torch

from caselli.shapes import Bool, Float, Int, Tensor


class AlignedGroups:
    """Packed rows: room is left before each sequence, so that it begins with a group.

    Arguments:
        size: tokens of a group.
        position: each new token's place in its sequence.
        before: tokens that each row's sequence under way already has.
        starts: where sequences begin.
    """

    def __init__(
        self,
        size: int,
        position: Int[Tensor, "B T"],
        before: Int[Tensor, "B"],
        starts: Bool[Tensor, "B T"] | None,
    ) -> None:
        batch, length = position.shape
        if starts is None:
            starts = torch.zeros_like(position, dtype=torch.bool)
        self.fill = before % size
        unbroken = torch.cat((before[:, None], position[:, :-1] + 1), 1)
        room = torch.where(starts, -unbroken % size, 0).cumsum(1)
        self.slot = self.fill[:, None] + torch.arange(length, device=position.device) + room
        self.groups, self.size = int(self.slot.max()) // size + 1, size
        self.row = torch.arange(batch, device=position.device)[:, None]
        self.fresh = torch.zeros(batch, self.groups, dtype=torch.bool, device=position.device)
        self.fresh = self.fresh.index_put((self.row, self.slot // size), starts, accumulate=True)

    def keys(self, x: Float[Tensor, "B old_and_T c"]) -> Float[Tensor, "B n m c"]:
        """Tokens in groups: those of the group under way, then the T new ones."""
        old = x.shape[1] - self.slot.shape[1]
        slot = torch.arange(old, device=x.device) - old + self.fill[:, None]
        outside = self.groups * self.size
        return self._grouped(x, torch.cat((torch.where(slot < 0, outside, slot), self.slot), 1))

    def queries(self, x: Float[Tensor, "B T c"]) -> Float[Tensor, "B n q c"]:
        """The new tokens in their groups."""
        return self._grouped(x, self.slot)

    def _grouped(self, x: Tensor, slot: Tensor) -> Tensor:
        rows = x.new_zeros(len(x), self.groups * self.size + 1, x.shape[2])
        return rows.index_put((self.row, slot), x)[:, :-1].unflatten(1, (self.groups, self.size))

    def take(self, y: Float[Tensor, "B n q c"]) -> Float[Tensor, "B T c"]:
        """The new tokens out of their groups."""
        return y.flatten(1, 2)[self.row, self.slot]

    def complete_only(self, x: Float[Tensor, "B n m c"]) -> Float[Tensor, "B n m c"]:
        """Zero in place of the group under way."""
        complete = (self.slot[:, -1:] + 1) // self.size
        return x * (torch.arange(self.groups, device=x.device) < complete)[..., None, None]
