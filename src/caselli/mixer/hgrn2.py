"""HGRN2: a gated recurrence whose keys are what its forget gates leave."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.mixer.dense import Dense
from caselli.mixer.parts import MatrixState, RecurrentMixer, head_count, rms_normalise, split_heads
from caselli.ops import exact, gated_linear_attention


class HGRN2(RecurrentMixer):
    r"""Hierarchically gated recurrence with an expanded state.

    .. math::
        f_t = \ell + (1 - \ell)\, \sigma(W_f x_t), \quad
        S_t = \mathrm{diag}(f_t) S_{t-1} + (1 - f_t)\, (W_i x_t)^\top, \quad
        y_t = W_o\, \mathrm{RMSNorm}\big(S_t^\top\, \mathrm{silu}(W_q x_t) / \sqrt d\big)

    Arguments:
        width: E.
        heads: N; by default one for every 64 channels.
        least: ℓ, the least share that is kept; larger in higher layers, so that they see further back.
        chunk_size: tokens that are compared directly; rounded up to a power of two.

    Source: Qin et al. 2024, HGRN2: Gated Linear RNNs with State Expansion.

    Example:
        >>> y, state = HGRN2(width=64)(torch.zeros(2, 5, 64))
        >>> state.matrix.shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self, width: int, *, heads: int | None = None, least: float = 0.0, chunk_size: int = 64
    ) -> None:
        super().__init__(width, chunk_size=chunk_size)
        if not 0 <= least < 1:
            raise UserError(f"least {least} was given", "0 ≤ least < 1 was expected")
        self.heads, self.least = head_count(width, heads), least
        self.query = Dense(width, width, bias=False)
        self.forget = Dense(width, width, bias=False)
        self.value = Dense(width, width, bias=False)
        self.norm = nn.Parameter(torch.ones(width // self.heads))
        self.output = Dense(width, width, bias=False)

    def initial_state(self, batch: int, capacity: int | None = None) -> MatrixState:
        head = self.width // self.heads
        return MatrixState(self.zeros(batch, self.heads, head, head))

    def mix(self, x, state, starts, size):
        q, f, v = (split_heads(part(x), self.heads) for part in (self.query, self.forget, self.value))
        k, log_decay = forget_gate(exact(f), self.least)
        y, matrix = gated_linear_attention(
            F.silu(q) * q.shape[-1] ** -0.5,
            k.to(v.dtype),
            v,
            state.matrix,
            log_decay=log_decay,
            starts=starts,
            chunk_size=size,
        )
        return self.output((rms_normalise(y) * self.norm).flatten(2)), MatrixState(matrix)


def forget_gate(x: torch.Tensor, least: float) -> tuple[torch.Tensor, torch.Tensor]:
    """1 − f and log f of f = least + (1 − least) σ(x), both to all their digits.

    Example:
        >>> forget_gate(torch.tensor(0.0), 0.5)
        (tensor(0.2500), tensor(-0.2877))
    """
    log_f = F.logsigmoid(x)
    if least:
        log_f = torch.logaddexp(log_f + math.log1p(-least), torch.full_like(log_f, math.log(least)))
    return (1 - least) * torch.sigmoid(-x), log_f
