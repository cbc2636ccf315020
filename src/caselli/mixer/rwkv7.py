"""RWKV-7 (Goose): a matrix a head, that replaces, channel by channel, what the token decides."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from caselli.mixer.parts import split_heads
from caselli.mixer.parts_rwkv import MatrixTimeMixing, depth, left, shares
from caselli.ops import exact, generalised_delta_rule, token_shift
from caselli.shapes import Float, Tensor


class LowRank(nn.Module):
    """x ↦ b + f(x A) B with a thin A; small at first, so that b decides."""

    def __init__(self, width: int, rank: int, bias: Tensor, activation: nn.Module) -> None:
        super().__init__()
        self.into = nn.Parameter(torch.empty(width, rank).uniform_(-1e-2, 1e-2))
        self.out = nn.Parameter(torch.empty(rank, width).uniform_(-1, 1) * 0.1 / math.sqrt(rank))
        self.bias = nn.Parameter(bias)
        self.activation = activation

    def forward(self, x: Float[Tensor, "B T E"]) -> Float[Tensor, "B T E"]:
        return self.bias + self.activation(x @ self.into) @ self.out


class RWKV7(MatrixTimeMixing):
    r"""Time mixing of RWKV-7.

    .. math::
        S_t = \big(\mathrm{diag}(w_t) - (a_t \odot \kappa_t)\,\kappa_t^\top\big) S_{t-1}
        + \tilde k_t v_t^\top, \quad o_t = S_t^\top r_t, \\
        y_t = W_o\big((\mathrm{GroupNorm}(o_t) + (r_t \cdot \rho \odot \tilde k_t)\, v_t) \odot g_t\big)

    with κ the normalised k ⊙ ξ, k̃ = k (1 + (a − 1) α), w = e^{−σ(·)/√e}, and all of them from x_t and x_{t−1}
    mixed channel by channel.

    Arguments:
        width: E.
        heads: N; by default one for every 64 channels.
        rank: of the low-rank parts of w, a and g.
        value_residual: whether the values lean on another layer's, given to `mix` as `first_value`.
        chunk_size: tokens in one triangular system; rounded up to a power of two.

    Source: Peng et al. 2025, RWKV-7 "Goose" with Expressive Dynamic State Evolution.

    Example:
        >>> y, state = RWKV7(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int | None = None,
        rank: int = 32,
        value_residual: bool = False,
        chunk_size: int = 16,
    ) -> None:
        super().__init__(width, heads=heads, chunk_size=chunk_size)
        zeros = torch.zeros(width)
        self.shares = nn.Parameter(shares(width).data.repeat(6, 1))
        self.decay = LowRank(width, rank, -6 + 6 * depth(width), nn.Tanh())
        self.rate = LowRank(width, rank, zeros.clone(), nn.Identity())
        self.residual = LowRank(width, rank, zeros + 1, nn.Identity()) if value_residual else None
        self.gate_in = nn.Parameter(torch.empty(width, rank).uniform_(-1, 1) / math.sqrt(width))
        self.gate_out = nn.Parameter(torch.empty(rank, width).uniform_(-1, 1) / math.sqrt(rank))
        self.key_scale = nn.Parameter(zeros + 0.85)
        self.key_rate = nn.Parameter(zeros + 1.0)
        self.bonus = nn.Parameter(zeros - 0.04)

    @classmethod
    def of_state(cls, width, numbers, **options):
        return super().of_state(width, numbers, rank=width // 4, **options)

    def mix(self, x, state, starts, size, first_value=None):
        before = token_shift(x, state.token, starts)
        r, w, k, v, a, g = (torch.lerp(before, x, share) for share in self.shares)
        rate = self.rate(a).sigmoid()
        r, k, value = self.receptance(r), self.key(k), self.value(v)
        if self.residual is not None and first_value is not None:
            value = torch.lerp(value, first_value, self.residual(v).sigmoid())
        found = F.normalize(split_heads(k * self.key_scale, self.heads), dim=-1)
        k = k * (1 + (rate - 1) * self.key_rate)
        log_decay = -exact(self.decay(w)).sigmoid() * math.exp(-0.5)
        r, k, value, rate, log_decay = (split_heads(p, self.heads) for p in (r, k, value, rate, log_decay))
        y, memory = generalised_delta_rule(
            r,
            k,
            value,
            state.memory,
            a=-found,
            b=found * rate,
            log_decay=log_decay,
            starts=starts,
            chunk_size=size,
        )
        y = split_heads(self.normalise(y), self.heads)
        y = y + (r * k * self.bonus.view(self.heads, -1)).sum(-1, keepdim=True) * value
        y = y.flatten(2) * ((g @ self.gate_in).sigmoid() @ self.gate_out)
        return self.output(y), left(x, memory, state)
