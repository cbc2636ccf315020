"""PaTH attention: softmax attention whose positions are products of reflections that the tokens decide."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from caselli.mixer.dense import Dense
from caselli.mixer.heads import AttentionState, ProjectingMixer, refuse_bidirectional
from caselli.mixer.packing import begins
from caselli.mixer.parts import ShortConvolution
from caselli.ops import exact, no_autocast, packed_mask, path_scores
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class PathState(AttentionState):
    """Keys moved along the path to the last token, values, and the last inputs of the convolution."""

    inputs: Float[Tensor, "B past D"]


class PaTHAttention(ProjectingMixer):
    r"""Multi-head attention along paths of Householder-like transformations.

    .. math::
        y_t = W_o \sum_{s \le t} \mathrm{softmax}_s\Big(\frac{1}{\sqrt d}\, k_s^\top
        \prod_{l=s+1}^{t} \big(I - \beta_l w_l w_l^\top\big)\, q_t\Big)\, v_s, \qquad
        \beta_l = 2 \sigma(b \cdot x_l)

    with w a projection of low rank through a short convolution, of unit length. The state keeps every key and
    value; a new token moves all keys.

    Arguments:
        width: E.
        rank: rows of the first of two projections to w.
        convolution: tokens that the convolution sees.
        chunk_size: tokens in one triangular system.
        options: further ones of `caselli.mixer.heads.ProjectingMixer`; no rotary positions by default.

    Source: Yang et al. 2025, PaTH Attention: Position Encoding via Accumulating Householder Transformations.

    Example:
        >>> y, state = PaTHAttention(width=64)(torch.zeros(2, 5, 64))
        >>> state.keys.shape
        torch.Size([2, 1, 5, 64])
    """

    preferred_form = "chunk"

    def __init__(
        self,
        width: int,
        *,
        rank: int = 32,
        convolution: int = 3,
        rotary_base: float = 0.0,
        chunk_size: int = 128,
        **options,
    ) -> None:
        super().__init__(width, rotary_base=rotary_base, chunk_size=chunk_size, **options)
        refuse_bidirectional(self)
        keys = self.kv_heads * self.head_width
        self.direction = nn.Sequential(Dense(width, rank, bias=False), Dense(rank, keys))
        self.convolution = ShortConvolution(keys, convolution)
        self.strength = Dense(width, self.kv_heads)

    def initial_state(self, batch: int, capacity: int | None = None) -> PathState:
        empty = torch.empty(batch, self.kv_heads, 0, self.head_width, **self.like())
        begin = torch.zeros(batch, dtype=torch.int64, device=empty.device)
        inputs = exact(empty).new_zeros(batch, *self.convolution.state_shape)
        return PathState(exact(empty), empty.clone(), begin, length=0, packed=False, inputs=inputs)

    def parallel(self, x, state, starts):
        first, length = state.length, x.shape[1]
        q, k, v = self.project(x, first)
        w, inputs = self.convolution(self.direction(x), state.inputs, starts)
        w = F.normalize(exact(w).unflatten(2, (self.kv_heads, -1)).transpose(1, 2), dim=-1)
        beta = 2 * exact(self.strength(x)).sigmoid().transpose(1, 2)
        with no_autocast(x):
            scores, keys = path_scores(exact(q) * q.shape[-1] ** -0.5, exact(k), w, beta, state.keys)
        values = torch.cat((state.values.to(v.dtype), v), 2)
        begin, end = state.begin, first + length
        mask = torch.ones(length, end, dtype=torch.bool, device=x.device).tril(first)
        if starts is not None or state.packed:
            begin = begins(starts, begin, first, length)
            mask, begin = packed_mask(begin, end), begin[:, -1]
        state = PathState(keys, values, begin, end, state.packed or starts is not None, inputs)
        weights = scores.masked_fill(~mask, -torch.inf).softmax(-1).to(v.dtype)
        (values,) = self.repeated(values)
        return self.join(weights @ values), state
