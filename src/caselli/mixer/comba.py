"""Comba: a gated delta rule that reads with a weaker key than it writes, and corrects its queries."""

from __future__ import annotations

import torch
from torch import nn

from caselli.mixer.dense import Dense
from caselli.mixer.parts_delta import DeltaMixer, HeadDecay
from caselli.ops import delta_product


class Comba(DeltaMixer):
    r"""A bilinear recurrence under closed-loop control.

    .. math::
        S_t = \alpha_t S_{t-1} + \beta_t k_t (v_t - S_{t-1}^\top p_t)^\top, \quad
        p_t = \sigma(b)\, k_t, \quad
        y_t = W_o\big(\mathrm{RMSNorm}(S_t^\top (q_t - c\, k_t) / \sqrt d) \odot \sigma(W_g x_t)\big)

    with α as in Gated DeltaNet, q, k and v through a short convolution, and q and k of unit length; b and c
    are learnt, one a head.

    Arguments:
        width: E.
        value_factor: channels of all values over E.
        correction: c at the beginning; 1, or 0.02 for small models.
        options: further ones of `caselli.mixer.parts_delta.ConvolvedMixer`.

    Source: Hu et al. 2025, Comba: Improving Bilinear RNNs with Closed-loop Control.

    Example:
        >>> y, state = Comba(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 1, 64, 128])
    """

    def __init__(self, width: int, *, value_factor: int = 2, correction: float = 0.02, **options) -> None:
        super().__init__(width, value_factor=value_factor, **options)
        self.beta = Dense(width, self.heads, bias=False)
        self.decay = HeadDecay(width, self.heads)
        self.feedback = nn.Parameter(torch.ones(self.heads))
        self.correction = nn.Parameter(torch.full((self.heads,), correction))
        self.gates = Dense(width, self.values, bias=False)

    @classmethod
    def of_state(cls, width, numbers, **options):
        return super().of_state(width, numbers, value_factor=1, **options)

    def update(self, x, q, k, v, memory, **options):
        beta = self.beta(x).sigmoid()[:, :, None, :, None]
        return delta_product(
            q - self.correction[:, None] * k[:, :, 0] * k.shape[-1] ** -0.5,
            k,
            beta * v,
            memory,
            reads=beta * self.feedback.sigmoid()[:, None] * k,
            log_decay=self.decay(x),
            **options,
        )

    def gate(self, x):
        return self.gates(x).sigmoid()
