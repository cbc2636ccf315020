"""Mamba: a state-space model that selects, by the token, what it stores and what it lets go."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from caselli.mixer.dense import Dense
from caselli.mixer.parts import (
    ConvolvedState,
    RecurrentMixer,
    ShortConvolution,
    inverse_softplus,
    log_uniform,
)
from caselli.ops import exact, selective_scan


class Mamba(RecurrentMixer):
    r"""The selective state-space model S6 with its gate (Mamba).

    .. math::
        h_t = e^{\Delta_t A} \odot h_{t-1} + \Delta_t x_t B_t^\top, \quad y_t = h_t C_t + D \odot x_t, \qquad
        o_t = W_o\big(y_t \odot \mathrm{silu}(z_t)\big)

    with x through a short convolution, and Δ, B and C projected from it.

    Arguments:
        width: E.
        expand: channels inside over E.
        state_size: states a channel.
        convolution: tokens that the convolution sees.
        delta_rank: rank of Δ's projection; by default E/16, rounded up.
        bias: whether the projections at both ends have one.
        convolution_bias: whether the convolution has one.
        chunk_size: tokens of a piece of the chunk form.

    Source: Gu and Dao 2023, Mamba: Linear-Time Sequence Modeling with Selective State Spaces.

    Example:
        >>> y, state = Mamba(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 128, 16])
    """

    preferred_form = "parallel"

    def __init__(
        self,
        width: int,
        *,
        expand: int = 2,
        state_size: int = 16,
        convolution: int = 4,
        delta_rank: int | None = None,
        bias: bool = False,
        convolution_bias: bool = True,
        chunk_size: int = 64,
    ) -> None:
        super().__init__(width, chunk_size=chunk_size)
        inner = expand * width
        self.inner, self.state_size = inner, state_size
        self.delta_rank = delta_rank or math.ceil(width / 16)
        self.input = Dense(width, 2 * inner, bias=bias)
        self.convolution = ShortConvolution(inner, convolution, bias=convolution_bias)
        self.select = Dense(inner, self.delta_rank + 2 * state_size, bias=False)
        self.delta = Dense(self.delta_rank, inner)
        nn.init.uniform_(self.delta.weight, -(self.delta_rank**-0.5), self.delta_rank**-0.5)
        with torch.no_grad():
            self.delta.bias.copy_(inverse_softplus(log_uniform(1e-3, 1e-1, inner).clamp(min=1e-4)))
        self.log_a = nn.Parameter(torch.arange(1, state_size + 1).float().log().repeat(inner, 1))
        self.skip = nn.Parameter(torch.ones(inner))
        self.output = Dense(inner, width, bias=bias)

    @classmethod
    def of_state(cls, width, numbers, **options):
        return cls(width, state_size=numbers // width // 2, **options)

    def initial_state(self, batch: int, capacity: int | None = None) -> ConvolvedState:
        return ConvolvedState(
            self.zeros(batch, *self.convolution.state_shape), self.zeros(batch, self.inner, self.state_size)
        )

    def chunk(self, x, state, starts):
        return self._pieces(self.parallel, self.chunk_size, x, state, starts)

    def mix(self, x, state, starts, size):
        x, z = self.input.parts(x, (self.inner, self.inner))
        x, inputs = self.convolution(x, state.inputs, starts)
        delta, b, c = self.select(x).split((self.delta_rank, self.state_size, self.state_size), -1)
        y, memory = selective_scan(
            x,
            F.softplus(exact(self.delta(delta))),
            -exact(self.log_a).exp(),
            b,
            c,
            state.memory,
            starts=starts,
        )
        y = torch.addcmul(y, x, self.skip) * F.silu(z)
        return self.output(y), ConvolvedState(inputs, memory)
