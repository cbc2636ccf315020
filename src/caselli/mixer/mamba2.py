"""Mamba-2: a selective state-space model with one decay a head, which is linear attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.mixer.dense import Dense
from caselli.mixer.parts import (
    ConvolvedState,
    RecurrentMixer,
    ShortConvolution,
    inverse_softplus,
    log_uniform,
    rms_normalise,
    split_heads,
)
from caselli.ops import exact, linear_attention


class Mamba2(RecurrentMixer):
    r"""State-space duality (Mamba-2).

    .. math::
        S_t = e^{\Delta_t A} S_{t-1} + \Delta_t B_t x_t^\top, \quad y_t = S_t^\top C_t + D x_t, \qquad
        o_t = W_o\, \mathrm{RMSNorm}\big(y_t \odot \mathrm{silu}(z_t)\big)

    with x, B and C through a short convolution, one Δ and A for each head, and B and C for each group of
    heads.

    Arguments:
        width: E.
        expand: channels inside over E.
        head_width: channels of a head.
        state_size: rows of S, the width of B and C.
        groups: how many B and C there are; a divisor of the heads.
        convolution: tokens that the convolution sees.
        epsilon: of the norm, one for each group.
        bias: whether the projections at both ends have one.
        convolution_bias: whether the convolution has one.
        chunk_size: tokens that are compared directly.

    Source: Dao and Gu 2024, Transformers are SSMs: Generalized Models and Efficient Algorithms Through
    Structured State Space Duality.

    Example:
        >>> y, state = Mamba2(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 2, 64, 64])
    """

    def __init__(
        self,
        width: int,
        *,
        expand: int = 2,
        head_width: int = 64,
        state_size: int = 64,
        groups: int = 1,
        convolution: int = 4,
        epsilon: float = 1e-5,
        bias: bool = False,
        convolution_bias: bool = True,
        chunk_size: int = 64,
    ) -> None:
        super().__init__(width, chunk_size=chunk_size)
        inner = expand * width
        head_width = min(head_width, inner)
        if inner % head_width or (inner // head_width) % groups:
            raise UserError(
                f"{inner} channels inside, head_width {head_width} and {groups} groups were given",
                "channels = heads × head_width, and heads a multiple of groups, were expected",
            )
        self.inner, self.heads, self.head_width = inner, inner // head_width, head_width
        self.state_size, self.groups, self.epsilon = state_size, groups, epsilon
        self.convolved = inner + 2 * groups * state_size
        self.input = Dense(width, inner + self.convolved + self.heads, bias=bias)
        self.convolution = ShortConvolution(self.convolved, convolution, bias=convolution_bias)
        self.delta_bias = nn.Parameter(inverse_softplus(log_uniform(1e-3, 1e-1, self.heads).clamp(min=1e-4)))
        self.log_a = nn.Parameter(torch.empty(self.heads).uniform_(1, 16).log())
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.norm = nn.Parameter(torch.ones(inner))
        self.output = Dense(inner, width, bias=bias)

    @classmethod
    def of_state(cls, width, numbers, **options):
        state = numbers // width  # twice as wide inside
        return cls(width, state_size=state // 2, head_width=state, **options)

    def initial_state(self, batch: int, capacity: int | None = None) -> ConvolvedState:
        return ConvolvedState(
            self.zeros(batch, *self.convolution.state_shape),
            self.zeros(batch, self.heads, self.state_size, self.head_width),
        )

    def mix(self, x, state, starts, size):
        z, projected, delta = self.input.parts(x, (self.inner, self.convolved, self.heads))
        projected, inputs = self.convolution(projected, state.inputs, starts)
        groups = self.groups * self.state_size
        x, b, c = projected.split((self.inner, groups, groups), -1)
        x = exact(split_heads(x, self.heads))
        delta = F.softplus(exact(delta + self.delta_bias))
        y, memory = linear_attention(
            split_heads(c, self.groups),
            split_heads(b, self.groups),
            x * delta[..., None],
            state.memory,
            log_decay=-delta * exact(self.log_a).exp(),
            starts=starts,
            chunk_size=size,
        )
        y = torch.addcmul(y, x, self.skip[:, None]).flatten(2) * F.silu(z)
        y = rms_normalise(split_heads(y, self.groups), self.epsilon).flatten(2) * self.norm
        return self.output(y.to(z.dtype)), ConvolvedState(inputs, memory)
