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
from caselli.ops.matrix_product import products
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
        v, gate, (q, linear_q, k, linear_k) = self.project(x, state.length)
        if self.causal:
            y, state = self._past(q, linear_q, k, linear_k, v, state, starts)
        else:
            y = self._everything(q, linear_q, k, linear_k, v, starts)
        return self.output(gate * y.to(gate.dtype)), state

    def step(self, x, state, starts):
        return self.parallel(x, state, starts)

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
        values = groups.keys(v)
        y = groups.take(self._within(groups.queries(q), groups.keys(k), values))
        summed = (position // self.group * self.group).clamp_min(1)[..., None].to(linear_q)
        linear_q = groups.queries(linear_q / self._count(summed))
        before, memory = groups.carry(exact(_paired(groups.keys(linear_k).mT, values.mT)), state.memory)
        y = y + groups.take(_paired(linear_q, before.to(v.dtype).mT))
        keep = self.group - 1 if packed else (state.length + length) % self.group
        k, linear_k, v = (x[:, max(0, x.shape[1] - keep) :].clone() for x in (k, linear_k, v))
        return y, FLASHState(memory, k, linear_k, v, begin[:, -1], state.length + length, packed)

    def _everything(self, q, linear_q, k, linear_k, v, starts):
        """Not causal: each sequence in a row of its own, filled up with values of zero."""
        if starts is not None:
            rows = Unpacked.of(starts)
            q, linear_q, k, linear_k, v = (rows.unpack(x) for x in (q, linear_q, k, linear_k, v))
        lengths = v.new_full((1,), v.shape[1]) if starts is None else rows.lengths.to(v)
        groups = StraightGroups(self.group, 0, v.shape[1])
        y = groups.take(self._within(groups.queries(q), groups.keys(k), groups.keys(v)))
        memory = exact(linear_k.mT @ v) / self._count(lengths[:, None, None])
        y = y + linear_q @ memory.to(v.dtype)
        return y if starts is None else rows.pack(y)

    def _within(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Quadratic attention in each group, `B n c ·`."""
        y = pointwise_attention(
            q.flatten(0, 1) / self.group,
            k.flatten(0, 1),
            v.flatten(0, 1),
            activation=self.activation,
            bias=self.bias(q.shape[2], k.shape[2]),
            causal=self.causal,
        )
        return y.unflatten(0, q.shape[:2])

    def _count(self, length: Tensor) -> Tensor | float:
        """n of the linear part."""
        return {"length": length, "group": self.group, "constant": self.constant}[self.normalisation]


def _paired(a: Tensor, b: Tensor) -> Tensor:
    """a bᵀ in each group of each row."""
    return products(a.flatten(0, 1), b.flatten(0, 1)).unflatten(0, a.shape[:2])
