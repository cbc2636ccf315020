"""MesaNet: every token's answer is that of the best linear map from keys to values so far."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.mixer.base import State
from caselli.mixer.dense import Dense
from caselli.mixer.parts import inverse_softplus
from caselli.mixer.parts_delta import ConvolvedMixer
from caselli.ops import exact, mesa
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class RegressionState(State):
    """The last inputs of the convolution, and the sums of a regression."""

    inputs: Float[Tensor, "B past D"]
    keys: Float[Tensor, "B N d d"]
    memory: Float[Tensor, "B N d v"]


class MesaNet(ConvolvedMixer):
    r"""Locally optimal test-time regression.

    .. math::
        H_t = \alpha_t H_{t-1} + \beta_t k_t k_t^\top, \quad
        S_t = \alpha_t S_{t-1} + \beta_t k_t v_t^\top, \quad
        y_t = W_o\big(\mathrm{RMSNorm}(S_t^\top (H_t + \mathrm{diag}(\lambda))^{-1} q_t)
        \odot \mathrm{silu}(W_g x_t)\big)

    with α = σ(W_α x + b), β = σ(W_β x), q, k and v through a short convolution, q and k of unit length (q
    over √d), and λ learnt, one a channel of the keys.

    Arguments:
        width: E.
        least: lower bound of λ.
        iterations: conjugate gradients at most, forwards and backwards.
        options: further ones of `caselli.mixer.parts_delta.ConvolvedMixer`.

    Source: von Oswald et al. 2025, MesaNet: Sequence Modeling by Locally Optimal Test-Time Training.

    Example:
        >>> y, state = MesaNet(width=64)(torch.zeros(2, 5, 64))
        >>> state.keys.shape, state.memory.shape
        (torch.Size([2, 1, 64, 64]), torch.Size([2, 1, 64, 64]))
    """

    def __init__(self, width: int, *, least: float = 0.25, iterations: int = 20, **options) -> None:
        if least <= 0 or iterations < 1:
            raise UserError(
                f"least {least} and {iterations} iterations were given", "both were expected to be positive"
            )
        super().__init__(width, **options)
        self.least, self.iterations = least, iterations
        self.beta = Dense(width, self.heads, bias=False)
        self.decay = Dense(width, self.heads)
        with torch.no_grad():
            self.decay.bias.uniform_(2, 6)  # about ten to four hundred tokens are remembered
        self.ridge = nn.Parameter(inverse_softplus(torch.tensor(0.75)).repeat(width))
        self.gates = Dense(width, self.values, bias=False)

    @classmethod
    def of_state(cls, width, numbers, **options):
        return super().of_state(width, numbers // 2, **options)  # one half has the keys alone

    def initial_state(self, batch: int, capacity: int | None = None) -> RegressionState:
        start, head = super().initial_state(batch), self.width // self.heads
        return RegressionState(start.inputs, self.zeros(batch, self.heads, head, head), start.memory)

    def mix(self, x, state, starts, size):
        q, k, v, inputs = self.project(x, state.inputs, starts)
        y, keys, memory = mesa(
            q,
            k[:, :, 0],
            v[:, :, 0],
            state.keys,
            state.memory,
            beta=self.beta(x).sigmoid(),
            log_decay=F.logsigmoid(exact(self.decay(x))),
            ridge=(self.least + F.softplus(exact(self.ridge))).unflatten(0, (self.heads, -1)),
            iterations=self.iterations,
            starts=starts,
            chunk_size=size,
        )
        return self.finish(y, x), RegressionState(inputs, keys, memory)

    def gate(self, x):
        return F.silu(self.gates(x))
