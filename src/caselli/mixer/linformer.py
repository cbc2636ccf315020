"""Linformer: attention to a few learned mixtures of all tokens."""

from __future__ import annotations

import torch
from torch import nn

from caselli.errors import UserError
from caselli.mixer.heads import NoState, ProjectingMixer
from caselli.mixer.packing import Unpacked
from caselli.ops import attention


class Linformer(ProjectingMixer):
    r"""Softmax attention over keys and values that are projected along the sequence, in O(T · rank).

    .. math:: y_t = W_o\, \mathrm{softmax}\big(q_t (E K)^\top / \sqrt d\big)\, F V

    with E and F learned, `rank × length`; a shorter sequence uses their first columns. Each mixture sees all
    tokens: there is no causal form. Positions are in E and F.

    Arguments:
        width: E, the model's.
        length: the longest sequence.
        rank: rows of E and F.
        causal: False; True is refused.
        options: as of `caselli.mixer.heads.ProjectingMixer`, without `rotary_base`.

    Source: Wang et al. 2020, Linformer: Self-Attention with Linear Complexity.

    Example:
        >>> mixer = Linformer(width=64, length=100, rank=8)
        >>> mixer(torch.zeros(2, 50, 64))[0].shape
        torch.Size([2, 50, 64])
    """

    bounded = True

    def __init__(
        self, width: int, *, length: int = 1024, rank: int = 64, causal: bool = False, **options
    ) -> None:
        if causal:
            raise UserError(
                "causal=True was given to Linformer",
                "its keys are mixtures of all tokens, those ahead included",
                "take attention, local, linear, performer, gau or flash for a causal model",
            )
        if length < 1 or rank < 1:
            raise UserError(f"length {length}, rank {rank} were given", "at least 1 was expected")
        super().__init__(width, causal=False, rotary_base=0, **options)
        self.length = length
        self.key_mixture = nn.Parameter(torch.randn(rank, length) * length**-0.5)
        self.value_mixture = nn.Parameter(torch.randn(rank, length) * length**-0.5)

    @classmethod
    def of_state(cls, width, numbers, **options):
        return super().of_state(width, numbers, rank=numbers // width, **options)

    def initial_state(self, batch: int, capacity: int | None = None) -> NoState:
        return NoState()

    def parallel(self, x, state, starts):
        q, k, v = (z.transpose(1, 2) for z in self.project(x, 0))
        if starts is None:
            y = self._attend(q, k, v)
        else:
            rows = Unpacked.of(starts)
            y = rows.pack(self._attend(*(rows.unpack(z) for z in (q, k, v))))
        return self.output(y.flatten(2)), state

    def _attend(self, q, k, v):
        """`B T N d`; zeros fill a row up and add nothing to the mixtures."""
        length = q.shape[1]
        if length > self.length:
            raise UserError(
                f"a sequence of {length} tokens was given",
                f"at most {self.length} were expected",
                f"build it with length={length}",
            )
        k, v = (
            torch.einsum("rt,btmd->bmrd", mixture[:, :length].to(z.dtype), z)
            for mixture, z in ((self.key_mixture, k), (self.value_mixture, v))
        )
        return attention(q.transpose(1, 2), k, v).transpose(1, 2)
