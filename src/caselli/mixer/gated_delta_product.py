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
    with β = 2 is a reflection; n of them make any rotation of n − 1 planes, as tracking a state needs.

    Arguments:
        width: E.
        heads: N; by default one for every 64 channels.
        value_factor: channels of all values over E.
        steps: n.
        most: the largest β, up to 2; above 1 eigenvalues may be negative.
        convolution: tokens that the convolution sees.
        chunk_size: steps in one triangular system, at least one token's.

    Sources: Siems et al. 2025, DeltaProduct: Improving State-Tracking in Linear RNNs via Householder
    Products;
    Grazzi et al. 2024, Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues.

    Example:
        >>> import torch
        >>> y, state = GatedDeltaProduct(width=64)(torch.zeros(2, 5, 64))
        >>> state.memory.shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int | None = None,
        value_factor: int = 1,
        steps: int = 2,
        most: float = 2.0,
        convolution: int = 4,
        chunk_size: int = 64,
    ) -> None:
        if steps < 1:
            raise UserError(f"{steps} steps a token were given", "at least 1 was expected")
        super().__init__(
            width,
            heads=heads,
            value_factor=value_factor,
            writes=steps,
            convolution=convolution,
            chunk_size=chunk_size,
        )
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
