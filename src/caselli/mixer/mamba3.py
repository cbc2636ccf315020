"""Mamba-3: a state-space model by the trapezoidal rule, whose state turns as the tokens decide."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.mixer.base import State
from caselli.mixer.dense import Dense
from caselli.mixer.parts import RecurrentMixer, inverse_softplus, log_uniform, rms_normalise
from caselli.ops import exact, rotary, trapezoidal_attention
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class TurningState(State):
    """The angle that each head has turned by, its memory, and the keys and values of the last token."""

    angle: Float[Tensor, "B N a"]
    """Radians, 0 … 2π, in float64: it is a sum over all tokens."""
    memory: Float[Tensor, "B N d v"]
    key: Float[Tensor, "B R N d"]
    value: Float[Tensor, "B R N v"]


class Mamba3(RecurrentMixer):
    r"""A selective state-space model with data-dependent rotation (Mamba-3).

    .. math::
        S_t = e^{\Delta_t A_t} \Big(S_{t-1} + (1 - \lambda_t) \Delta_t \sum_r B_{t-1,r} x_{t-1,r}^\top\Big)
        + \lambda_t \Delta_t \sum_r B_{tr} x_{tr}^\top, \quad
        y_{tr} = S_t^\top C_{tr} + D x_{tr}

    with B and C normalised, offset, and turned by :math:`\sum_{s \le t} \pi \tanh(\theta_s) \Delta_s`: the
    state is a complex one, so it can count modulo a number. Of rank R = 1 a row is the token itself; above
    (MIMO) rows are scaled copies of the token, :math:`x_{tr} = x_t \odot m_r`, and the output is their sum.

    Arguments:
        width: E.
        expand: channels inside over E.
        head_width: channels of a head.
        state_size: rows of S, the width of B and C, an even number.
        groups: how many B and C there are; a divisor of the heads.
        rank: R.
        turning: share of the rows of S that turn, 0 … 1.
        normalise: whether the output of a head is normalised before its gate.
        chunk_size: rows that are compared directly.

    Source: Lahoti et al. 2026, Mamba-3: Improved Sequence Modeling Using State Space Principles.

    Example:
        >>> y, state = Mamba3(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape, state.angle.shape
        (torch.Size([2, 2, 64, 64]), torch.Size([2, 2, 16]))
    """

    def __init__(
        self,
        width: int,
        *,
        expand: int = 2,
        head_width: int = 64,
        state_size: int = 64,
        groups: int = 1,
        rank: int = 1,
        turning: float = 0.5,
        normalise: bool = False,
        chunk_size: int = 64,
    ) -> None:
        super().__init__(width, chunk_size=chunk_size)
        inner = expand * width
        head_width = min(head_width, inner)
        if inner % head_width or (inner // head_width) % groups or state_size % 2 or not 0 < turning <= 1:
            raise UserError(
                f"{inner} channels inside, head_width {head_width}, {groups} groups, state_size {state_size} "
                f"and turning {turning} were given",
                "channels = heads × head_width, heads a multiple of groups, an even state_size and a share "
                "were expected",
            )
        self.heads, self.head_width, self.groups, self.rank = inner // head_width, head_width, groups, rank
        self.state_size, self.angles = state_size, max(1, int(state_size * turning) // 2)
        shared = rank * groups * state_size
        self.sizes = (inner, inner, shared, shared, self.heads, self.heads, self.heads, self.angles)
        self.input = Dense(width, sum(self.sizes), bias=False)
        self.delta_bias = nn.Parameter(inverse_softplus(log_uniform(1e-3, 1e-1, self.heads).clamp(min=1e-4)))
        self.b_norm, self.c_norm = (nn.Parameter(torch.ones(state_size)) for _ in range(2))
        self.b_bias, self.c_bias = (nn.Parameter(torch.ones(rank, self.heads, state_size)) for _ in range(2))
        rows = (rank, self.heads, head_width)
        self.x_rows, self.y_rows = (nn.Parameter(torch.ones(rows) / rank) if rank > 1 else None for _ in "xy")
        self.z_rows = nn.Parameter(torch.ones(rows)) if rank > 1 else None
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.norm = nn.Parameter(torch.ones(self.heads, head_width)) if normalise else None
        self.output = Dense(inner, width, bias=False)

    @classmethod
    def of_state(cls, width, numbers, **options):
        state = numbers // width  # twice as wide inside
        return cls(width, state_size=state // 2, head_width=state, **options)

    def initial_state(self, batch: int, capacity: int | None = None) -> TurningState:
        rows = (batch, self.rank, self.heads)
        return TurningState(
            self.zeros(batch, self.heads, self.angles).double(),
            self.zeros(batch, self.heads, self.state_size, self.head_width),
            self.zeros(*rows, self.state_size),
            self.zeros(*rows, self.head_width),
        )

    def mix(self, x, state, starts, size):
        z, v, b, c, delta, a, share, turn = self.input.parts(x, self.sizes)
        delta = F.softplus(exact(delta + self.delta_bias))
        angle = math.pi * exact(turn).tanh()[:, :, None] * delta[..., None]
        angle = (angle.double().cumsum(1) + state.angle[:, None]) % (2 * math.pi)
        k = self._turned(b, self.b_norm, self.b_bias, angle)
        v, z = (part.unflatten(2, (1, self.heads, self.head_width)) for part in (v, z))
        if self.rank > 1:
            v, z = v * self.x_rows, z * self.z_rows
        y, memory = trapezoidal_attention(
            self._turned(c, self.c_norm, self.c_bias, angle),
            k,
            v,
            state.memory,
            state.key,
            state.value,
            log_decay=-delta * _rate(exact(a)),
            step=delta,
            share=exact(share).sigmoid(),
            starts=starts,
            chunk_size=size * self.rank,
        )
        y = y + v * self.skip[:, None]
        if self.norm is not None:
            y = rms_normalise(y) * self.norm
        y = y * F.silu(z)
        y = (y * self.y_rows).sum(2) if self.rank > 1 else y[:, :, 0]
        last = TurningState(angle[:, -1], memory, k[:, -1].to(memory), v[:, -1].to(memory))
        return self.output(y.flatten(2)), last

    def _turned(self, x: Tensor, norm: Tensor, bias: Tensor, angle: Tensor) -> Float[Tensor, "B T R N d"]:
        """B or C of every head, normalised, offset and turned."""
        x = rms_normalise(x.unflatten(2, (self.rank, self.groups, -1))) * norm
        x = x.repeat_interleave(self.heads // self.groups, 3) + bias
        still = self.state_size // 2 - self.angles
        return rotary(x, F.pad(angle, (0, still))[:, :, None])


def _rate(x: Tensor) -> Tensor:
    """1 + x, or 1 / (1 − x) below zero; smooth, and no less than 10⁻⁴."""
    return torch.where(x >= 0, 1 + x, 1 / (1 + x.abs())).clamp(min=1e-4)
