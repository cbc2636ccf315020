"""Gated DeltaNet: the delta rule with a memory that the token can also let fade."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from caselli.mixer.dense import Dense
from caselli.mixer.parts import (
    ConvolvedState,
    RecurrentMixer,
    ShortConvolution,
    head_count,
    inverse_softplus,
    log_uniform,
    rms_normalise,
    split_heads,
)
from caselli.ops import delta_rule, exact


class GatedDeltaNet(RecurrentMixer):
    r"""The gated delta rule.

    .. math::
        S_t = \alpha_t S_{t-1} + \beta_t k_t (v_t - \alpha_t S_{t-1}^\top k_t)^\top, \quad
        \alpha_t = e^{-A\, \mathrm{softplus}(W_a x_t + b)}, \quad
        y_t = W_o\big(\mathrm{RMSNorm}(S_t^\top q_t / \sqrt d) \odot \mathrm{silu}(W_g x_t)\big)

    with q, k and v through a short convolution, and q and k of unit length.

    Arguments:
        width: E.
        heads: N; by default one for every 64 channels.
        value_factor: channels of all values over E.
        convolution: tokens that the convolution sees.
        chunk_size: tokens in one triangular system.

    Source: Yang, Kautz and Hatamizadeh 2025, Gated Delta Networks: Improving Mamba2 with Delta Rule.

    Example:
        >>> y, state = GatedDeltaNet(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 1, 64, 128])
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int | None = None,
        value_factor: int = 2,
        convolution: int = 4,
        chunk_size: int = 64,
    ) -> None:
        super().__init__(width, chunk_size=chunk_size)
        self.heads, self.values = head_count(width, heads), value_factor * width
        self.input = Dense(width, 2 * width + self.values, bias=False)
        self.convolution = ShortConvolution(2 * width + self.values, convolution)
        self.beta = Dense(width, self.heads, bias=False)
        self.delta = Dense(width, self.heads)
        with torch.no_grad():
            self.delta.bias.copy_(inverse_softplus(log_uniform(1e-3, 1e-1, self.heads).clamp(min=1e-4)))
        self.log_a = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        self.gate = Dense(width, self.values, bias=False)
        self.norm = nn.Parameter(torch.ones(self.values // self.heads))
        self.output = Dense(self.values, width, bias=False)

    @classmethod
    def of_state(cls, width, numbers, **options):
        return super().of_state(width, numbers, value_factor=1, **options)

    def initial_state(self, batch: int, capacity: int | None = None) -> ConvolvedState:
        memory = self.zeros(batch, self.heads, self.width // self.heads, self.values // self.heads)
        return ConvolvedState(self.zeros(batch, *self.convolution.state_shape), memory)

    def mix(self, x, state, starts, size):
        projected, inputs = self.convolution(self.input(x), state.inputs, starts)
        parts = projected.split((self.width, self.width, self.values), -1)
        q, k, v = (split_heads(part, self.heads) for part in parts)
        y, memory = delta_rule(
            F.normalize(q, dim=-1) * q.shape[-1] ** -0.5,
            F.normalize(k, dim=-1),
            v,
            state.memory,
            beta=self.beta(x).sigmoid(),
            log_decay=-exact(self.log_a).exp() * F.softplus(exact(self.delta(x))),
            starts=starts,
            chunk_size=size,
        )
        y = (rms_normalise(y) * self.norm).flatten(2) * F.silu(self.gate(x))
        return self.output(y), ConvolvedState(inputs, memory)
