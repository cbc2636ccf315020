"""FLASH: gated attention within groups of tokens, linear attention between them."""

from __future__ import annotations

import dataclasses

import torch

from caselli.errors import UserError
from caselli.mixer.base import State
from caselli.mixer.gated import GatedUnit
from caselli.mixer.groups import AlignedGroups
from caselli.mixer.packing import Unpacked, begins
from caselli.ops import (
    exact,
    fold,
    gated_mixed_chunk_attention,
    mixed_chunk_attention,
    pointwise_attention,
    token_shift,
)
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class FLASHState(State):
    """The sum over past groups, the tokens of the group under way (in packed rows at least those), and, where
    tokens are shifted, the half of the last one that the next takes."""

    memory: Float[Tensor, "B s e"]
    keys: Float[Tensor, "B R s"]
    linear_keys: Float[Tensor, "B R s"]
    values: Float[Tensor, "B R e"]
    token: Float[Tensor, "B c"]
    begin: Int[Tensor, "B"]
    """Index of the first token of the sequence under way."""
    length: int
    """Tokens seen."""
    packed: bool
    """True once a sequence has begun behind the first token."""


class FLASH(GatedUnit):
    r"""The gated attention unit with mixed chunk attention, linear in the length.

    .. math:: o_i = g_i \odot \Big(\sum_{j \in G_i,\, j \le i} f\big(q_i \cdot k_j / G + b_{i-j}\big)\, v_j
        + \tfrac1{n_i}\, q'_i \sum_{j < G_i} k'_j v_j^\top\Big)

    where G_i is the group of G tokens that i is in, counted from the beginning of its sequence; the second
    sum runs over all earlier groups, or over all groups if not causal. Its normalisation n_i is

    * `length`: the number of tokens in that sum;
    * `group`: G, so that the sum grows with the number of groups (as in the best-known implementation);
    * `constant`: the same for every length.

    The state does not grow: the sum, and the group under way.

    Arguments:
        width: E.
        group: G, tokens of a group.
        shift: whether the first half of a token's channels is taken from the token before it.
        joined: whether, if not causal, the second sum runs over all groups, and not over the own one alone.
        options: as of `caselli.mixer.gated.GatedUnit`.

    Source: Hua et al. 2022, Transformer Quality in Linear Time.

    Example:
        >>> mixer = FLASH(width=64, group=4)
        >>> y, state = mixer(torch.zeros(2, 9, 64))
        >>> y.shape, state.memory.shape, state.keys.shape
        (torch.Size([2, 9, 64]), torch.Size([2, 128, 128]), torch.Size([2, 1, 128]))
    """

    NORMALISATIONS = ("length", "group", "constant")
    OFFSETS = 4

    def __init__(
        self, width: int, *, group: int = 256, shift: bool = False, joined: bool = True, **options
    ) -> None:
        super().__init__(width, **options)
        if group < 1:
            raise UserError(f"group {group} was given", "at least 1 was expected")
        self.group, self.shifted, self.joined = group, width // 2 if shift else 0, joined

    @classmethod
    def of_state(cls, width, numbers, **options):
        return super().of_state(width, numbers, group=numbers // width // 4, **options)

    def offsets(self):
        scale = torch.ones_like(self.gamma)
        scale[0] /= self.group
        return self.gamma * scale, self.beta * scale

    def initial_state(self, batch: int, capacity: int | None = None) -> FLASHState:
        empty = torch.zeros(batch, 0, self.key_width, **self.like())
        return FLASHState(
            memory=exact(empty.new_zeros(batch, self.key_width, self.value_width)),
            keys=empty,
            linear_keys=empty,
            values=empty.new_zeros(batch, 0, self.value_width),
            token=empty.new_zeros(batch, self.shifted),
            begin=torch.zeros(batch, dtype=torch.int64, device=empty.device),
            length=0,
            packed=False,
        )

    def parallel(self, x, state, starts):
        if self.shifted:
            half, rest = x.split((self.shifted, x.shape[2] - self.shifted), 2)
            x = torch.cat((token_shift(half, state.token, starts), rest), 2)
            state = dataclasses.replace(state, token=half[:, -1])
        if not self.causal:
            v, gate, vectors = self.project(x, 0)
            return self._gated(gate, self._everything(*vectors, v, starts)), state
        if starts is not None or state.packed:
            return self._packed(x, state, starts)
        under_way = min(x.shape[1], -state.length % self.group)
        rest = (x.shape[1] - under_way) % self.group
        sizes = (under_way, x.shape[1] - under_way - rest, rest)
        ways = (self._under_way, self._whole_groups, self._under_way)
        plan = [(size, way) for size, way in zip(sizes, ways, strict=True) if size]
        if len(plan) == 1:
            return plan[0][1](x, state)
        outputs = []
        for part, (_, way) in zip(x.split([size for size, _ in plan], 1), plan, strict=True):
            y, state = way(part, state)
            outputs.append(y)
        return torch.cat(outputs, 1), state

    def _whole_groups(self, x, state):
        first, last = state.length, state.length + x.shape[1]
        gated, memory = gated_mixed_chunk_attention(
            self.input(x),
            *self.offsets(),
            state.memory,
            angles=self.angles(first, last, x),
            group=self.group,
            divisors=[self._count(max(1, begin)) for begin in range(first, last, self.group)],
            activation=self.activation,
            bias=self.bias(self.group, self.group),
        )
        return self.output(gated), dataclasses.replace(state, memory=memory, length=last)

    def _under_way(self, x, state):
        """Tokens of one group, which they may complete."""
        v, gate, (q, linear_q, k, linear_k) = self.project(x, state.length)
        k, linear_k, v = self._appended(state, k, linear_k, v)
        memory, length = state.memory, state.length + x.shape[1]
        summed = state.length // self.group * self.group
        y = self._within(q, k, v) + linear_q @ memory.to(v.dtype) / self._count(max(1, summed))
        if length % self.group == 0:
            memory = memory + exact(linear_k.mT @ v)
        state = self._kept(state, memory, k, linear_k, v, begin=state.begin, length=length, packed=False)
        return self._gated(gate, y), state

    def _packed(self, x, state, starts):
        v, gate, (q, linear_q, k, linear_k) = self.project(x, state.length)
        k, linear_k, v = self._appended(state, k, linear_k, v)
        begin = begins(starts, state.begin, state.length, x.shape[1])
        length = state.length + x.shape[1]
        position = torch.arange(state.length, length, device=v.device) - begin
        summed = (position // self.group * self.group).clamp_min(1)[..., None].to(linear_q)
        groups = AlignedGroups(self.group, position, state.length - state.begin, starts)
        y, memory = mixed_chunk_attention(
            groups.queries(q),
            groups.keys(k),
            groups.queries(linear_q / self._count(summed)),
            groups.complete_only(groups.keys(linear_k)),
            groups.keys(v),
            state.memory,
            activation=self.activation,
            bias=self.bias(self.group, self.group),
            fresh=groups.fresh,
        )
        state = self._kept(state, memory, k, linear_k, v, begin=begin[:, -1], length=length, packed=True)
        return self._gated(gate, groups.take(y)), state

    def _appended(self, state, *new):
        """Keys, linear keys and values: those of the state, then the new ones."""
        old = (state.keys, state.linear_keys, state.values)
        return (torch.cat((a.to(b.dtype), b), 1) if a.shape[1] else b for a, b in zip(old, new, strict=True))

    def _kept(self, state, memory, k, linear_k, v, *, begin, length, packed):
        """The state, with what may be of the group under way."""
        keep = self.group - 1 if packed else length % self.group
        k, linear_k, v = (
            x if x.shape[1] <= keep else x[:, x.shape[1] - keep :].clone() for x in (k, linear_k, v)
        )
        kept = {"memory": memory, "keys": k, "linear_keys": linear_k, "values": v}
        return dataclasses.replace(state, **kept, begin=begin, length=length, packed=packed)

    def _gated(self, gate, y):
        return self.output(gate * y.to(gate.dtype))

    def _everything(self, q, linear_q, k, linear_k, v, starts):
        """Not causal: each sequence in a row of its own, filled up with values of zero."""
        if starts is not None:
            rows = Unpacked.of(starts)
            q, linear_q, k, linear_k, v = (rows.unpack(x) for x in (q, linear_q, k, linear_k, v))
        batch, length = v.shape[:2]
        size = min(self.group, length)
        y = self._within(*(fold(x, size).flatten(0, 1) for x in (q, k, v)))
        y = y.unflatten(0, (batch, -1)).flatten(1, 2)[:, :length]
        count = self._count(
            (v.new_full((1,), length) if starts is None else rows.lengths.to(v))[:, None, None]
        )
        if self.joined:
            y = y + linear_q @ (exact(linear_k.mT @ v) / count).to(v.dtype)
        else:
            v, linear_q, linear_k = (fold(x, size) for x in (v, linear_q, linear_k))
            near = linear_q @ exact(linear_k.mT @ v).to(v.dtype)
            y = y + near.flatten(1, 2)[:, :length] / count
        return y if starts is None else rows.pack(y)

    def _within(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Quadratic attention in a group each."""
        return pointwise_attention(
            q,
            k,
            v,
            activation=self.activation,
            bias=self.bias(q.shape[1], k.shape[1]),
            causal=self.causal,
        )

    def _count(self, length: Tensor | float) -> Tensor | float:
        """n of the linear part."""
        return {"length": length, "group": self.group, "constant": self.constant}[self.normalisation]
