"""FLASH: gated attention within groups of tokens, linear attention between them."""

from __future__ import annotations

import dataclasses

import torch

from caselli.errors import UserError
from caselli.mixer.base import State
from caselli.mixer.gated import GatedUnit
from caselli.mixer.groups import AlignedGroups, StraightGroups
from caselli.mixer.packing import Unpacked, begins
from caselli.ops.chunks import exact
from caselli.ops.gated_mixed_chunk_attention import gated_mixed_chunk_attention
from caselli.ops.mixed_chunk_attention import mixed_chunk_attention
from caselli.ops.pointwise_attention import pointwise_attention
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class FLASHState(State):
    """The sum over past groups, and the tokens of the group under way (in packed rows at least those)."""

    memory: Float[Tensor, "B s e"]
    keys: Float[Tensor, "B R s"]
    linear_keys: Float[Tensor, "B R s"]
    values: Float[Tensor, "B R e"]
    begin: Int[Tensor, "B"]
    """Index of the first token of the sequence under way."""
    length: int
    """Tokens seen."""
    packed: bool
    """Whether a sequence ever began behind the first token."""


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

    def __init__(self, width: int, *, group: int = 256, **options) -> None:
        super().__init__(width, **options)
        if group < 1:
            raise UserError(f"group {group} was given", "at least 1 was expected")
        self.group = group

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
            begin=torch.zeros(batch, dtype=torch.int64, device=empty.device),
            length=0,
            packed=False,
        )

    def parallel(self, x, state, starts):
        begins_a_group = starts is None and not state.packed and not state.keys.shape[1]
        if self.causal and begins_a_group and x.shape[1] >= self.group:
            return self._whole_groups(x, state)
        v, gate, (q, linear_q, k, linear_k) = self.project(x, state.length)
        if self.causal:
            y, state = self._past(q, linear_q, k, linear_k, v, state, starts)
        else:
            y = self._everything(q, linear_q, k, linear_k, v, starts)
        return self.output(gate * y.to(gate.dtype)), state

    def step(self, x, state, starts):
        return self.parallel(x, state, starts)

    def _whole_groups(self, x, state):
        """As many groups as x fills, and what is left of it."""
        rest = x.shape[1] % self.group
        if rest:
            x, behind = x.split((x.shape[1] - rest, rest), 1)
            y, state = self._whole_groups(x, state)
            after, state = self.parallel(behind, state, None)
            return torch.cat((y, after), 1), state
        first, last = state.length, state.length + x.shape[1]
        gated, memory = gated_mixed_chunk_attention(
            self.input(x),
            *self.offsets(),
            self.angles(first, last, x),
            state.memory,
            group=self.group,
            divisors=[self._count(max(1, begin)) for begin in range(first, last, self.group)],
            activation=self.activation,
            bias=self.bias(self.group, self.group),
        )
        return self.output(gated), dataclasses.replace(state, memory=memory, length=last)

    def _past(self, q, linear_q, k, linear_k, v, state, starts):
        length, packed = v.shape[1], starts is not None or state.packed
        begin = begins(starts, state.begin, state.length, length)
        position = torch.arange(state.length, state.length + length, device=v.device) - begin
        if packed:
            groups = AlignedGroups(self.group, position, state.length - state.begin, starts)
        else:
            groups = StraightGroups(self.group, state.length % self.group, length)
        k, linear_k, v = (
            torch.cat((old.to(new.dtype), new), 1) if old.shape[1] else new
            for old, new in ((state.keys, k), (state.linear_keys, linear_k), (state.values, v))
        )
        summed = (position // self.group * self.group).clamp_min(1)[..., None].to(linear_q)
        linear_q = linear_q / self._count(summed)
        y, memory = self._mixed(groups, q, linear_q, k, linear_k, v, state.memory)
        keep = self.group - 1 if packed else (state.length + length) % self.group
        k, linear_k, v = (x[:, max(0, x.shape[1] - keep) :].clone() for x in (k, linear_k, v))
        return y, FLASHState(memory, k, linear_k, v, begin[:, -1], state.length + length, packed)

    def _mixed(self, groups, q, linear_q, k, linear_k, v, memory):
        """y, and the sum over the complete groups."""
        if groups.alone:
            y = self._within(q, k, v) + linear_q @ memory.to(v.dtype)
            return y, memory + exact(linear_k.mT @ v) if groups.complete else memory
        y, memory = mixed_chunk_attention(
            groups.queries(q),
            groups.keys(k),
            groups.queries(linear_q),
            groups.complete_only(groups.keys(linear_k)),
            groups.keys(v),
            memory,
            activation=self.activation,
            bias=self.bias(self.group, self.group),
            fresh=groups.fresh,
        )
        return groups.take(y), memory

    def _everything(self, q, linear_q, k, linear_k, v, starts):
        """Not causal: each sequence in a row of its own, filled up with values of zero."""
        if starts is not None:
            rows = Unpacked.of(starts)
            q, linear_q, k, linear_k, v = (rows.unpack(x) for x in (q, linear_q, k, linear_k, v))
        lengths = v.new_full((1,), v.shape[1]) if starts is None else rows.lengths.to(v)
        groups = StraightGroups(self.group, 0, v.shape[1])
        y = self._within(*(groups.queries(x).flatten(0, 1) for x in (q, k, v)))
        y = groups.take(y.unflatten(0, (len(v), -1)))
        memory = exact(linear_k.mT @ v) / self._count(lengths[:, None, None])
        y = y + linear_q @ memory.to(v.dtype)
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
