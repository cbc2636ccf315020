"""Shared parts of the softmax mixers: heads with rotary positions, and the keys and values that they keep."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod

import torch

from caselli.errors import UserError
from caselli.mixer.base import Mixer, State
from caselli.mixer.dense import Dense
from caselli.mixer.packing import begins
from caselli.ops import rotary, rotary_angles
from caselli.shapes import Float, Int, Num, Tensor


class HeadedMixer(Mixer):
    """Several heads, rotary positions, and what joins the heads again.

    Arguments:
        width: E, a multiple of `heads`.
        heads: N query heads; by default one for every 64 channels, at least one.
        rotary_base: base of the rotary angles; 0 for no positions here (learned ones are the prior's matter).
        causal: whether a token sees only itself and the past.
        chunk_size: tokens of a piece of the chunk form.
    """

    angle_dtype = torch.float32
    """Least precision of the angles; an angle in float32 is off by 10⁻⁴ after a thousand turns."""

    def __init__(
        self,
        width: int,
        *,
        heads: int | None = None,
        rotary_base: float = 10_000.0,
        causal: bool = True,
        chunk_size: int = 256,
    ) -> None:
        super().__init__(width, causal=causal, chunk_size=chunk_size)
        heads = heads or max(1, width // 64)
        if width % heads or (width // heads) % 2:
            raise UserError(
                f"width {width} and heads {heads} were given",
                "a width of heads × an even number was expected",
            )
        self.heads, self.head_width, self.rotary_base = heads, width // heads, rotary_base
        self.output = Dense(width, width, bias=False)

    def turn(
        self, vectors: tuple[Tensor, ...], first: int, begin: Int[Tensor, "B T"] | None = None
    ) -> tuple[Tensor, ...]:
        """Queries and keys `B N T d`, rotated by their positions: from `first` on, less `begin` of each."""
        if not self.rotary_base:
            return vectors
        x = vectors[0]
        positions = torch.arange(first, first + x.shape[2], device=x.device)
        if begin is not None:
            positions = (positions - begin)[:, None]
        positions = positions.to(torch.promote_types(x.dtype, self.angle_dtype))
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


class ProjectingMixer(HeadedMixer):
    """Queries, keys and values, each a projection of the tokens.

    Arguments:
        width: E.
        kv_heads: M key and value heads, a divisor of the heads; by default as many.
        options: as of `HeadedMixer`.
    """

    def __init__(self, width: int, *, kv_heads: int | None = None, **options) -> None:
        super().__init__(width, **options)
        self.kv_heads = kv_heads or self.heads
        if self.heads % self.kv_heads:
            raise UserError(
                f"heads {self.heads} and kv_heads {self.kv_heads} were given",
                "a divisor of the heads was expected",
            )
        self.query = Dense(width, width, bias=False)
        self.key_value = Dense(width, 2 * self.kv_heads * self.head_width, bias=False)

    def project(
        self, x: Tensor, first: int, begin: Int[Tensor, "B T"] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """q `B N T d`, k and v `B M T d` of tokens whose first has position `first`; see `turn`."""
        q = self.query(x).unflatten(2, (self.heads, self.head_width)).transpose(1, 2)
        k, v = self.keys_and_values(x)
        return *self.turn((q, k), first, begin), v

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """k and v `B M T d` of tokens, without positions."""
        kv = self.key_value(x).unflatten(2, (2, self.kv_heads, self.head_width))
        return kv.permute(2, 0, 3, 1, 4).unbind()

    def repeated(self, *vectors: Tensor) -> tuple[Tensor, ...]:
        """Keys and values `B M T d`, one for each query head."""
        repeat = self.heads // self.kv_heads
        return vectors if repeat == 1 else tuple(x.repeat_interleave(repeat, 1) for x in vectors)


@dataclasses.dataclass(frozen=True)
class AttentionState(State):
    """Keys and values so far; with a capacity they lie in the front of larger, preallocated tensors.

    Without gradients new tokens are written in place behind `length`: two continuations of one state must not
    share it (fork with `clone`).
    """

    keys: Float[Tensor, "B M R d"]
    values: Float[Tensor, "B M R e"]
    begin: Int[Tensor, "B"]
    """Index of the first token of the sequence under way."""
    length: int
    """Tokens seen."""
    packed: bool
    """True once a sequence has begun behind the first token."""


@dataclasses.dataclass(frozen=True)
class NoState(State):
    """The empty state of a mixer that sees whole sequences."""


def append(old: Num[Tensor, "B M R d"], new: Num[Tensor, "B M T d"], length: int) -> Num[Tensor, "B M U d"]:
    """A cache whose first `length` tokens are old and the next T new, in place where it may be.

    Example:
        >>> append(torch.zeros(1, 1, 0, 2), torch.ones(1, 1, 3, 2), 0).shape
        torch.Size([1, 1, 3, 2])
    """
    end = length + new.shape[2]
    if end > old.shape[2] or torch.is_grad_enabled():
        return torch.cat((old[:, :, :length].to(new.dtype), new), 2)
    old[:, :, length:end] = new
    return old


class CachedMixer(ProjectingMixer):
    """Softmax attention over keys and values that are kept; a method gives `attend`.

    `window` is the number of tokens that a token can see, itself included, where that is bounded: then no
    more keys are kept.
    """

    window: int | None = None
    counts_from_start = False
    """True where a token's place counts, and not its distances alone: it is counted from where its sequence
    begins."""

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
        first, length, begin = state.length, x.shape[1], None
        if starts is not None or state.packed:
            begin = begins(starts, state.begin, first, length)
        q, k, v = self.project(x, first, begin if self.counts_from_start else None)
        k, v, state = self._slide(k, v, state) if self.window else self._append(k, v, state)
        if begin is not None:
            state = dataclasses.replace(state, begin=begin[:, -1], packed=True)
            begin = begin - (state.length - k.shape[2])
        return self.join(self.attend(q, k, v, begin)), state

    def _append(self, k, v, state):
        """All keys and values, and the state that has them."""
        end = state.length + k.shape[2]
        keys, values = append(state.keys, k, state.length), append(state.values, v, state.length)
        state = dataclasses.replace(state, keys=keys, values=values, length=end)
        return keys[:, :, :end], values[:, :, :end], state

    def _slide(self, k, v, state):
        """All keys and values at hand, and the state that has those which the next token can see."""
        keys = torch.cat((state.keys.to(k.dtype), k), 2)
        values = torch.cat((state.values.to(v.dtype), v), 2)
        first = max(0, keys.shape[2] - self.window + 1)
        kept = {"keys": keys[:, :, first:].clone(), "values": values[:, :, first:].clone()}
        return keys, values, dataclasses.replace(state, **kept, length=state.length + k.shape[2])
