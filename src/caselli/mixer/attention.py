"""Softmax attention: every token looks at all before it."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.mixer.base import Mixer, State
from caselli.ops.rotary import rotary, rotary_angles
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class AttentionState(State):
    """Keys and values so far; with a capacity they lie in the front of larger, preallocated tensors.

    Without gradients new tokens are written in place behind `length`: two continuations of one state must not
    share it (fork with `clone`).
    """

    keys: Float[Tensor, "B M R d"]
    values: Float[Tensor, "B M R d"]
    begin: Int[Tensor, "B"]
    length: int
    packed: bool


class Attention(Mixer):
    r"""Multi-head and grouped-query softmax attention with rotary positions.

    .. math:: y_t = W_o \sum_{s \le t} \mathrm{softmax}_s\big(q_t \cdot k_s / \sqrt d\big)\, v_s

    Arguments:
        width: E, a multiple of `heads`.
        heads: N query heads; by default one for every 64 channels, at least one.
        kv_heads: M key and value heads, a divisor of `heads`; by default as many as `heads`.
        rotary_base: base of the rotary angles; 0 for no positions here (learned ones are the prior's matter).
        causal: whether a token sees only itself and the past.

    Sources: Vaswani et al. 2017, Attention Is All You Need; Ainslie et al. 2023, GQA; Su et al. 2021, RoFormer.

    Example:
        >>> mixer = Attention(width=64, heads=4)
        >>> y, state = mixer(torch.zeros(2, 5, 64))
        >>> y.shape, state.length
        (torch.Size([2, 5, 64]), 5)
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int | None = None,
        kv_heads: int | None = None,
        rotary_base: float = 10_000.0,
        causal: bool = True,
        chunk_size: int = 256,
    ) -> None:
        super().__init__(width, causal=causal, chunk_size=chunk_size)
        heads = heads or max(1, width // 64)
        kv_heads = kv_heads or heads
        if width % heads or heads % kv_heads or (width // heads) % 2:
            raise UserError(
                f"width {width}, heads {heads}, kv_heads {kv_heads} were given",
                "a width of heads × an even number, and heads a multiple of kv_heads, were expected",
            )
        self.heads, self.kv_heads, self.head_width = heads, kv_heads, width // heads
        self.rotary_base = rotary_base
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * kv_heads * self.head_width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def initial_state(self, batch: int, capacity: int | None = None) -> AttentionState:
        empty = torch.empty(batch, self.kv_heads, capacity or 0, self.head_width, **self.like())
        begin = torch.zeros(batch, dtype=torch.int64, device=empty.device)
        return AttentionState(empty, empty.clone(), begin, length=0, packed=False)

    def parallel(self, x, state, starts):
        q, k, v = self._project(x, state.length)
        keys, values, state = self._remember(k, v, state)
        end, length = state.length, x.shape[1]
        mask = None
        if starts is not None or state.packed:
            mask, state = self._packed_mask(starts, state, length)
        elif self.causal and 1 < length < end:
            mask = torch.ones(length, end, dtype=torch.bool, device=x.device).tril(end - length)
        y = F.scaled_dot_product_attention(
            q,
            keys.to(q.dtype),
            values.to(q.dtype),
            attn_mask=mask,
            is_causal=self.causal and mask is None and length > 1,
            enable_gqa=self.kv_heads != self.heads,
        )
        return self.output(y.transpose(1, 2).flatten(2)), state

    def step(self, x, state, starts):
        return self.parallel(x, state, starts)

    def _project(self, x, offset):
        batch, length, _ = x.shape
        q = self.query(x).view(batch, length, self.heads, self.head_width).transpose(1, 2)
        kv = self.key_value(x).view(batch, length, 2, self.kv_heads, self.head_width)
        k, v = kv.permute(2, 0, 3, 1, 4)
        if self.rotary_base:
            exact = torch.float64 if x.dtype == torch.float64 else torch.float32
            positions = torch.arange(offset, offset + length, dtype=exact, device=x.device)
            angles = rotary_angles(positions, self.head_width, self.rotary_base)
            q, k = rotary(q, angles), rotary(k, angles)
        return q, k, v

    @staticmethod
    def _remember(k, v, state):
        start, end = state.length, state.length + k.shape[2]
        room = state.keys.shape[2]
        if end <= room and not torch.is_grad_enabled():
            state.keys[:, :, start:end] = k
            state.values[:, :, start:end] = v
            keys, values = state.keys, state.values
        else:
            keys = torch.cat((state.keys[:, :, :start].to(k.dtype), k), 2)
            values = torch.cat((state.values[:, :, :start].to(v.dtype), v), 2)
        state = dataclasses.replace(state, keys=keys, values=values, length=end)
        return keys[:, :, :end], values[:, :, :end], state

    def _packed_mask(self, starts, state, length):
        """True where a query may look: in its own sequence and, if causal, not ahead."""
        end, batch = state.length, len(state.begin)
        position = torch.arange(end, device=state.begin.device)
        new = position[end - length :]
        if starts is None:
            first = state.begin[:, None].expand(batch, length)
        else:
            first = torch.where(starts, new, state.begin[:, None]).cummax(1).values
        mask = position >= first[:, :, None]
        if self.causal:
            mask = mask & (position <= new[:, None])
        else:
            mask = mask & (first[:, :, None] == first[:, None, :])
        return mask[:, None], dataclasses.replace(state, begin=first[:, -1], packed=True)
