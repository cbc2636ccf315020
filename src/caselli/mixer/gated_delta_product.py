"""Gated DeltaProduct: several Householder steps a token, which can rotate what the memory holds."""

from __future__ import annotations

import torch.nn.functional as F

from caselli.errors import UserError
from caselli.mixer.dense import Dense
from caselli.mixer.parts_delta import DeltaMixer, HeadDecay
from caselli.ops import delta_product


class GatedDeltaProduct(DeltaMixer):
    r"""n delta rules a token, with one decay.

    .. math::
        S_t = \alpha_t \prod_{i=n}^{1} \big(I - \beta_{ti} k_{ti} k_{ti}^\top\big) S_{t-1}
        + \sum_i \Big(\prod_{j=n}^{i+1} \big(I - \beta_{tj} k_{tj} k_{tj}^\top\big)\Big)
        \beta_{ti} k_{ti} v_{ti}^\top, \quad
        y_t = W_o\big(\mathrm{RMSNorm}(S_t^\top q_t / \sqrt d) \odot \mathrm{silu}(W_g x_t)\big)

    with α as in Gated DeltaNet, q, k and v through a short convolution, and q and k of unit length. A factor
    with β = 2 is a reflection: two turn a plane, n make any permutation of n + 1 things, as tracking a state
    needs.

    Arguments:
        width: E.
        steps: n.
        most: the largest β, up to 2; above 1 eigenvalues may be negative.
        options: further ones of `caselli.mixer.parts_delta.ConvolvedMixer`.

    Sources: Siems et al. 2025, DeltaProduct: Improving State-Tracking in Linear RNNs via Householder
    Products; Grazzi et al. 2024, Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues.

    Example:
        >>> import torch
        >>> y, state = GatedDeltaProduct(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(self, width: int, *, steps: int = 2, most: float = 2.0, **options) -> None:
        if steps < 1:
            raise UserError(f"{steps} steps a token were given", "at least 1 was expected")
        super().__init__(width, steps, **options)
        self.most = most
        self.beta = Dense(width, steps * self.heads, bias=False)
        self.decay = HeadDecay(width, self.heads)
        self.gates = Dense(width, self.values, bias=False)

    @classmethod
    def of_state(cls, width, numbers, **options):
        return super().of_state(width, numbers, convolution=2, **options)

    def update(self, x, q, k, v, memory, **options):
        log_decay = self.decay(x)
        beta = self.most * self.beta(x).sigmoid().unflatten(2, (self.writes, self.heads))[..., None]
        # The first step reads before the decay, the others what is left after it.
        decay = F.pad(log_decay[:, :, None], (0, 0, 0, self.writes - 1)).exp()[..., None]
        return delta_product(q, k, beta * v, memory, reads=beta * decay * k, log_decay=log_decay, **options)

    def gate(self, x):
        return F.silu(self.gates(x))
