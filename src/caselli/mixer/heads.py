"""What the softmax mixers share: heads with rotary positions, and the keys and values that they keep."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod

import torch
from torch import nn

from caselli.errors import UserError
from caselli.mixer.base import Mixer, State
from caselli.mixer.packing import begins
from caselli.ops.rotary import rotary, rotary_angles
from caselli.shapes import Float, Int, Tensor


class HeadedMixer(Mixer):
    """Queries, keys and values of several heads, turned by their positions, and what joins the heads again.

    Arguments:
        width: E, a multiple of `heads`.
        heads: N query heads; by default one for every 64 channels, at least one.
        kv_heads: M key and value heads, a divisor of `heads`; by default as many as `heads`.
        rotary_base: base of the rotary angles; 0 for no positions here (learned ones are the prior's matter).
        causal: whether a token sees only itself and the past.
        chunk_size: tokens of a piece of the chunk form.
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

    def project(self, x: Tensor, offset: int) -> tuple[Tensor, Tensor, Tensor]:
        """q `B N T d`, k and v `B M T d` of tokens whose first has position `offset`."""
        q = self.query(x).unflatten(2, (self.heads, self.head_width)).transpose(1, 2)
        kv = self.key_value(x).unflatten(2, (2, self.kv_heads, self.head_width))
        k, v = kv.permute(2, 0, 3, 1, 4)
        return *self.turn((q, k), offset), v

    def turn(self, vectors: tuple[Tensor, ...], offset: int) -> tuple[Tensor, ...]:
        """Queries and keys `B N T d`, rotated by their positions."""
        if not self.rotary_base:
            return vectors
        x = vectors[0]
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        positions = torch.arange(offset, offset + x.shape[2], dtype=dtype, device=x.device)
        angles = rotary_angles(positions, self.head_width, self.rotary_base)
        return tuple(rotary(vector, angles) for vector in vectors)

    def join(self, y: Tensor) -> Tensor:
        """`B N T d` → `B T E`."""
        return self.output(y.transpose(1, 2).flatten(2))


def refuse_bidirectional(mixer: Mixer) -> None:
    """For a method that is causal by nature."""
    if not mixer.causal:
        raise UserError(
            f"causal=False was given to {type(mixer).__name__}",
            "it is defined for the past alone",
            "wrap two of them in Bidirectional, or take attention, local, linear, gau or flash",
        )


@dataclasses.dataclass(frozen=True)
class AttentionState(State):
    """Keys and values so far; with a capacity they lie in the front of larger, preallocated tensors.

    Without gradients new tokens are written in place behind `length`: two continuations of one state must not
    share it (fork with `clone`).
    """

    keys: Float[Tensor, "B M R d"]
    values: Float[Tensor, "B M R d"]
    begin: Int[Tensor, "B"]
    """Index of the first token of the sequence under way."""
    length: int
    """Tokens seen."""
    packed: bool
    """Whether a sequence ever began behind the first token."""


class CachedMixer(HeadedMixer):
    """Softmax attention over keys and values that are kept; a method gives `attend`.

    `window` is the number of tokens that a token can see, itself included, where that is bounded: then no
    more keys are kept.
    """

    window: int | None = None

    @abstractmethod
    def attend(
        self,
        q: Float[Tensor, "B N T d"],
        k: Float[Tensor, "B M S d"],
        v: Float[Tensor, "B M S d"],
        begin: Int[Tensor, "B T"] | None,
    ) -> Float[Tensor, "B N T d"]:
        """Attends from the last T of S tokens; `begin` as in `caselli.ops.sparse_attention`."""

    def initial_state(self, batch: int, capacity: int | None = None) -> AttentionState:
        room = 0 if self.window else capacity or 0
        empty = torch.empty(batch, self.kv_heads, room, self.head_width, **self.like())
        begin = torch.zeros(batch, dtype=torch.int64, device=empty.device)
        return AttentionState(empty, empty.clone(), begin, length=0, packed=False)

    def parallel(self, x, state, starts):
        first, length = state.length, x.shape[1]
        q, k, v = self.project(x, first)
        keys, values, state = self._slide(k, v, state) if self.window else self._append(k, v, state)
        begin = None
        if starts is not None or state.packed:
            begin = begins(starts, state.begin, first, length)
            state = dataclasses.replace(state, begin=begin[:, -1], packed=True)
            begin = begin - (state.length - keys.shape[2])
        return self.join(self.attend(q, keys, values, begin)), state

    def step(self, x, state, starts):
        return self.parallel(x, state, starts)

    @staticmethod
    def _append(k, v, state):
        """All keys and values, and the state that has them."""
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

    def _slide(self, k, v, state):
        """All keys and values at hand, and the state that has those which the next token can see."""
        keys = torch.cat((state.keys.to(k.dtype), k), 2)
        values = torch.cat((state.values.to(v.dtype), v), 2)
        first = max(0, keys.shape[2] - self.window + 1)
        end = state.length + k.shape[2]
        state = dataclasses.replace(state, keys=keys[:, :, first:], values=values[:, :, first:], length=end)
        return keys, values, state
