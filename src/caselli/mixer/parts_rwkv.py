"""Shared parts of RWKV's time mixings: mixes of a token with the one before it, and a matrix a head."""

from __future__ import annotations

import torch
from torch import nn

from caselli.mixer.dense import Dense
from caselli.mixer.parts import RecurrentMixer, ShiftedState, head_count
from caselli.shapes import Float, Tensor

HEAD_EPSILON = 64e-5
"""RWKV's group norm divides by 8 first; this epsilon is the same without dividing."""


def shares(width: int, power: float = 1.0) -> nn.Parameter:
    """Share of each channel that comes from the token itself, from 0 to 1 over the channels.

    Example:
        >>> shares(2).data
        tensor([0.0000, 0.5000])
    """
    return nn.Parameter((torch.arange(width) / width) ** power)


def depth(width: int) -> Float[Tensor, "E"]:
    """From 0 in the first channel to 1 in the last: slow and fast decays at initialisation.

    Example:
        >>> depth(3)
        tensor([0.0000, 0.5000, 1.0000])
    """
    return torch.arange(width) / max(1, width - 1)


def zigzag(width: int) -> Float[Tensor, "E"]:
    """0, ½, −½ in turn: bonuses of neighbouring channels differ at initialisation.

    Example:
        >>> zigzag(3)
        tensor([ 0.0000,  0.5000, -0.5000])
    """
    return 0.5 * ((torch.arange(width) + 1) % 3 - 1)


class MatrixTimeMixing(RecurrentMixer):
    """Receptance, key and value of several heads, a matrix a head, a group norm, and what joins the heads."""

    def __init__(self, width: int, *, heads: int | None, chunk_size: int) -> None:
        super().__init__(width, chunk_size=chunk_size)
        self.heads = head_count(width, heads)
        self.key = Dense(width, width, bias=False)
        self.value = Dense(width, width, bias=False)
        self.receptance = Dense(width, width, bias=False)
        self.norm = nn.GroupNorm(self.heads, width, eps=HEAD_EPSILON)
        self.output = Dense(width, width, bias=False)

    def initial_state(self, batch: int, capacity: int | None = None) -> ShiftedState:
        head = self.width // self.heads
        return ShiftedState(self.zeros(batch, self.width), self.zeros(batch, self.heads, head, head))

    def normalise(self, y: Float[Tensor, "B T N d"]) -> Float[Tensor, "B T E"]:
        """The group norm, one group a head."""
        return self.norm(y.flatten(0, 1).flatten(1)).unflatten(0, y.shape[:2])


def left(x: Float[Tensor, "B T E"], memory: Tensor, before: ShiftedState) -> ShiftedState:
    """The state after these tokens."""
    return ShiftedState(x[:, -1].to(before.token.dtype), memory)
