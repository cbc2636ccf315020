"""Gated linear attention: every channel of the memory forgets at a rate that the token decides."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from caselli.mixer.dense import Dense
from caselli.mixer.parts import MatrixState, RecurrentMixer, head_count, rms_normalise, split_heads
from caselli.ops import exact, gated_linear_attention


class GatedLinearAttention(RecurrentMixer):
    r"""Gated linear attention (GLA).

    .. math::
        S_t = \mathrm{diag}(\alpha_t) S_{t-1} + k_t v_t^\top, \quad
        \alpha_t = \sigma(W_2 W_1 x_t + b)^{1/\tau}, \quad
        y_t = W_o\big(\mathrm{silu}(W_g x_t) \odot \mathrm{RMSNorm}(S_t^\top q_t / \sqrt d)\big)

    Arguments:
        width: E.
        heads: N; by default one for every 64 channels.
        key_factor: channels of all keys over E.
        gate_rank: rows of W_1.
        temperature: τ; the larger, the slower the memory fades.
        chunk_size: tokens that are compared directly; rounded up to a power of two.

    Source: Yang et al. 2024, Gated Linear Attention Transformers with Hardware-Efficient Training.

    Example:
        >>> import torch
        >>> y, state = GatedLinearAttention(width=64)(torch.zeros(2, 5, 64))
        >>> state.matrix.shape
        torch.Size([2, 1, 32, 64])
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int | None = None,
        key_factor: float = 0.5,
        gate_rank: int = 16,
        temperature: float = 16.0,
        chunk_size: int = 64,
    ) -> None:
        super().__init__(width, chunk_size=chunk_size)
        self.heads, self.temperature = head_count(width, heads), temperature
        self.key_width = max(1, int(width * key_factor) // self.heads)
        keys = self.heads * self.key_width
        self.query = Dense(width, keys, bias=False)
        self.key = Dense(width, keys, bias=False)
        self.value = Dense(width, width, bias=False)
        self.decay = nn.Sequential(Dense(width, gate_rank, bias=False), Dense(gate_rank, keys))
        self.gate = Dense(width, width, bias=False)
        self.norm = nn.Parameter(self.gate.weight.new_ones(width // self.heads))
        self.output = Dense(width, width, bias=False)

    @classmethod
    def of_state(cls, width, numbers, **options):
        return super().of_state(width, numbers, key_factor=1, **options)

    def initial_state(self, batch: int, capacity: int | None = None) -> MatrixState:
        return MatrixState(self.zeros(batch, self.heads, self.key_width, self.width // self.heads))

    def mix(self, x, state, starts, size):
        q, k, v, decay = (
            split_heads(part(x), self.heads) for part in (self.query, self.key, self.value, self.decay)
        )
        y, matrix = gated_linear_attention(
            q * self.key_width**-0.5,
            k,
            v,
            state.matrix,
            log_decay=F.logsigmoid(exact(decay)) / self.temperature,
            starts=starts,
            chunk_size=size,
        )
        y = F.silu(self.gate(x)) * (rms_normalise(y) * self.norm).flatten(2)
        return self.output(y), MatrixState(matrix)
