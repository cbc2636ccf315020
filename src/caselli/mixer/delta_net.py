"""DeltaNet: linear attention that replaces the value under a key instead of adding to it."""

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
    rms_normalise,
    split_heads,
)
from caselli.ops import delta_rule


class DeltaNet(RecurrentMixer):
    r"""The delta rule with learned writing strength.

    .. math::
        S_t = S_{t-1} + \beta_t k_t (v_t - S_{t-1}^\top k_t)^\top, \quad \beta_t = \sigma(W_\beta x_t), \quad
        y_t = W_o\, \mathrm{RMSNorm}(S_t^\top q_t / \sqrt d)

    with q, k and v through a short convolution, and q and k of unit length.

    Arguments:
        width: E.
        heads: N; by default one for every 64 channels.
        convolution: tokens that the convolution sees.
        chunk_size: tokens in one triangular system.

    Sources: Schlag, Irie and Schmidhuber 2021, Linear Transformers Are Secretly Fast Weight Programmers;
    Yang et al. 2024, Parallelizing Linear Transformers with the Delta Rule over Sequence Length.

    Example:
        >>> y, state = DeltaNet(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self, width: int, *, heads: int | None = None, convolution: int = 4, chunk_size: int = 64
    ) -> None:
        super().__init__(width, chunk_size=chunk_size)
        self.heads = head_count(width, heads)
        self.input = Dense(width, 3 * width, bias=False)
        self.convolution = ShortConvolution(3 * width, convolution)
        self.beta = Dense(width, self.heads, bias=False)
        self.norm = nn.Parameter(torch.ones(width // self.heads))
        self.output = Dense(width, width, bias=False)

    def initial_state(self, batch: int, capacity: int | None = None) -> ConvolvedState:
        head = self.width // self.heads
        return ConvolvedState(
            self.zeros(batch, *self.convolution.state_shape), self.zeros(batch, self.heads, head, head)
        )

    def mix(self, x, state, starts, size):
        projected, inputs = self.convolution(self.input(x), state.inputs, starts)
        q, k, v = (split_heads(part, self.heads) for part in projected.chunk(3, -1))
        y, memory = delta_rule(
            F.normalize(q, dim=-1) * q.shape[-1] ** -0.5,
            F.normalize(k, dim=-1),
            v,
            state.memory,
            beta=self.beta(x).sigmoid(),
            starts=starts,
            chunk_size=size,
        )
        return self.output((rms_normalise(y) * self.norm).flatten(2)), ConvolvedState(inputs, memory)
