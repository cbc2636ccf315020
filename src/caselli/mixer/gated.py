"""Shared parts of the gated attention units: projections, offsets, positions, normalisation."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UnknownName, UserError
from caselli.mixer.base import Mixer
from caselli.mixer.dense import Dense
from caselli.mixer.heads import AttentionState, append
from caselli.mixer.packing import begins, sequence_lengths
from caselli.ops import ACTIVATIONS, offset_rotary, pointwise_attention, rotary_angles
from caselli.shapes import Float, Int, Tensor

BUCKETS, FARTHEST = 32, 128


def distance_buckets(distance: Int[Tensor, "*L"], *, causal: bool) -> Int[Tensor, "*L"]:
    """The 32 buckets of T5's relative positions: one for each small distance, logarithmic up to 128.

    Arguments:
        distance: query's index less key's.
        causal: whether all buckets are for the past; otherwise the second half is for the future.

    Source: Raffel et al. 2020, Exploring the Limits of Transfer Learning (T5).

    Example:
        >>> distance_buckets(torch.tensor([-3, 0, 5, 1000]), causal=True)
        tensor([ 0,  0,  5, 31])
    """
    buckets = BUCKETS if causal else BUCKETS // 2
    ahead = 0 if causal else (distance < 0) * buckets
    distance = distance.clamp_min(0) if causal else distance.abs()
    near = buckets // 2
    far = torch.log(distance.clamp_min(near) / near) / math.log(FARTHEST / near) * (buckets - near)
    far = (near + far.long()).clamp_max(buckets - 1)
    return torch.where(distance < near, distance, far) + ahead


class GatedUnit(Mixer):
    r"""The frame of the gated attention unit; a method gives the attention.

    .. math:: (v, g, z) = \mathrm{SiLU}(x W + b), \qquad q = \gamma_q \odot z + \beta_q, \qquad
        k = \gamma_k \odot z + \beta_k, \qquad y = (g \odot A v) W_o + b_o

    One head of a few channels that queries and keys share, and values wider than the model. γ begins near 1
    and β at 0.

    Arguments:
        width: E.
        expansion: width of values and gate over E.
        key_width: s, channels of queries and keys, an even number.
        rotary_base: base of the rotary angles; 0 for none.
        turned: channels of queries and keys that rotary positions turn, an even number; by default all.
        relative_bias: whether a score has a learned bias of its distance (T5's 32 buckets), zero at first.
        activation: f, a name in `caselli.ops.pointwise_attention.ACTIVATIONS`.
        normalisation: a name in the class's `NORMALISATIONS`; see there.
        constant: n of the normalisation "constant".
        causal: whether a token sees only itself and the past.
        chunk_size: tokens of a piece of the chunk form.

    Source: Hua et al. 2022, Transformer Quality in Linear Time.
    """

    NORMALISATIONS: tuple[str, ...] = ()
    OFFSETS = 2
    """Rows of γ and β: how many queries and keys are made of z."""

    def __init__(
        self,
        width: int,
        *,
        expansion: float = 2.0,
        key_width: int = 128,
        rotary_base: float = 10_000.0,
        turned: int | None = None,
        relative_bias: bool = True,
        activation: str = "squared_relu",
        normalisation: str = "length",
        constant: float = 512.0,
        causal: bool = True,
        chunk_size: int = 256,
    ) -> None:
        super().__init__(width, causal=causal, chunk_size=chunk_size)
        if activation not in ACTIVATIONS:
            raise UnknownName("activation", activation, ACTIVATIONS)
        if normalisation not in self.NORMALISATIONS:
            raise UnknownName("normalisation", normalisation, self.NORMALISATIONS)
        turned = key_width if turned is None else turned
        if key_width % 2 or expansion <= 0 or constant <= 0 or turned % 2 or not 0 <= turned <= key_width:
            raise UserError(
                f"key_width {key_width}, turned {turned}, expansion {expansion}, "
                f"constant {constant} were given",
                "an even key_width, an even part of it, and positive others were expected",
            )
        self.value_width, self.key_width, self.rotary_base = int(expansion * width), key_width, rotary_base
        self.turned = turned
        self.activation, self.normalisation, self.constant = activation, normalisation, constant
        self.input = Dense(width, 2 * self.value_width + key_width)
        self.gamma = nn.Parameter(1 + 0.02 * torch.randn(self.OFFSETS, key_width))
        self.beta = nn.Parameter(torch.zeros(self.OFFSETS, key_width))
        self.distance_bias = nn.Parameter(torch.zeros(BUCKETS)) if relative_bias else None
        self.output = Dense(self.value_width, width)

    @classmethod
    def of_state(cls, width, numbers, **options):
        return cls(width, key_width=numbers // width, expansion=1, **options)

    def project(self, x: Tensor, offset: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Values and gate `B T e`, and the queries and keys `B T s`, turned by their positions."""
        sizes = (self.value_width, self.value_width, self.key_width)
        values, gate, base = (F.silu(part) for part in self.input.parts(x, sizes))
        gamma, beta = self.offsets()
        angles = self.angles(offset, offset + x.shape[1], x)
        return values, gate, list(offset_rotary(base, gamma, beta, angles))

    def angles(self, first: int, last: int, x: Tensor) -> Float[Tensor, "T half"]:
        """By which the tokens first … last − 1 turn, in radians; 0 without rotary positions."""
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        positions = torch.arange(first, last, dtype=dtype, device=x.device)
        if not self.rotary_base or not self.turned:
            return positions.new_zeros(len(positions), self.key_width // 2)
        angles = rotary_angles(positions, self.turned, self.rotary_base)
        return F.pad(angles, (0, (self.key_width - self.turned) // 2))

    def offsets(self) -> tuple[Float[Tensor, "n s"], Float[Tensor, "n s"]]:
        """γ and β, with what the method divides a query by."""
        return self.gamma, self.beta

    def bias(self, length: int, end: int) -> Float[Tensor, "L"] | None:
        """The scores' bias for the distances −(length − 1) … end − 1."""
        if self.distance_bias is None:
            return None
        distance = torch.arange(1 - length, end, device=self.distance_bias.device)
        return self.distance_bias[distance_buckets(distance, causal=self.causal)]


class QuadraticUnit(GatedUnit):
    r"""A gated unit whose tokens see all before them; the state keeps every key and value.

    A token that sees n_i others, itself included (n_i = i + 1 if causal, T otherwise), gets

    * `length`: f(q · k / n_i + b), as published, with the length that is known so far, so that what follows
      never changes what was;
    * `constant`: f(q · k / n + b) with one n for every length;
    * `mean`: f(q · k / √s + b) / n_i, whose output neither grows nor fades with the length.
    """

    NORMALISATIONS = ("length", "constant", "mean")

    def initial_state(self, batch: int, capacity: int | None = None) -> AttentionState:
        keys = torch.empty(batch, 1, capacity or 0, self.key_width, **self.like())
        values = torch.empty(batch, 1, capacity or 0, self.value_width, **self.like())
        begin = torch.zeros(batch, dtype=torch.int64, device=keys.device)
        return AttentionState(keys, values, begin, length=0, packed=False)

    def parallel(self, x, state, starts):
        first, length = state.length, x.shape[1]
        v, gate, (q, k) = self.project(x, first)
        keys, values = append(state.keys, k[:, None], first), append(state.values, v[:, None], first)
        state = dataclasses.replace(state, keys=keys, values=values, length=first + length)
        begin = None
        if starts is not None or state.packed:
            begin = begins(starts, state.begin, first, length)
            state = dataclasses.replace(state, begin=begin[:, -1], packed=True)
        seen = self._seen(begin, first, length, q)
        before, after = self._scales(seen)
        y = pointwise_attention(
            q * before,
            keys[:, 0, : state.length],
            values[:, 0, : state.length],
            activation=self.activation,
            bias=self.bias(length, first + length),
            begin=begin,
            causal=self.causal,
        )
        return self.output(gate * (y * after).to(gate.dtype)), state

    def _seen(self, begin: Tensor | None, first: int, length: int, like: Tensor) -> Tensor:
        """n_i, `B T 1` or `T 1`."""
        if not self.causal:
            return (
                like.new_full((1, 1), length)
                if begin is None
                else sequence_lengths(begin)[..., None].to(like)
            )
        index = torch.arange(first, first + length, device=like.device)
        return (index + 1 if begin is None else index + 1 - begin)[..., None].to(like)

    def _scales(self, seen: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Factors of the queries and of the sums."""
        if self.normalisation == "mean":
            return self.key_width**-0.5, 1 / seen
        return (1 / seen if self.normalisation == "length" else 1 / self.constant), 1.0
