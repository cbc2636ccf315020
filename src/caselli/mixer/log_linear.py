"""Log-linear attention: the past in as many states as the position has bits."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from caselli.errors import UnknownName, UserError
from caselli.mixer.base import State
from caselli.mixer.dense import Dense
from caselli.mixer.parts import inverse_softplus
from caselli.mixer.parts_delta import ConvolvedMixer, HeadDecay
from caselli.ops import exact, log_linear_attention
from caselli.shapes import Float, Int, Tensor

RULES = ("decay", "delta")


@dataclasses.dataclass(frozen=True)
class BucketState(State):
    """The last inputs of the convolution, one memory for each bit of the position, and the position."""

    inputs: Float[Tensor, "B past D"]
    buckets: Float[Tensor, "B L N d v"]
    position: Int[Tensor, "B"]


class LogLinear(ConvolvedMixer):
    r"""Log-linear attention, with the decays of Mamba-2 or the gated delta rule.

    .. math::
        y_t = W_o\Big(\mathrm{RMSNorm}\Big(\sum_l \lambda_{tl}\, S_{tl}^\top q_t / \sqrt d\Big)
        \odot \mathrm{silu}(W_g x_t)\Big), \qquad \lambda_t = \mathrm{softplus}(W_\lambda x_t + b)

    where S_l, the memory of level l, has up to 2^l tokens, the nearest in the smallest; all go through the
    same transitions, :math:`\alpha_t` or :math:`\alpha_t (I - \beta_t k_t k_t^\top)`. q, k and v go through a
    short convolution, and q and k have unit length. The state grows with the logarithm of the tokens.

    Arguments:
        width: E.
        rule: "delta" or "decay".
        levels: how many λ there are; what is further back has the last one.
        options: further ones of `caselli.mixer.parts_delta.ConvolvedMixer`.

    Source: Guo et al. 2025, Log-Linear Attention.

    Example:
        >>> y, state = LogLinear(width=64)(torch.zeros(2, 5, 64))
        >>> state.buckets.shape, state.position
        (torch.Size([2, 3, 1, 64, 64]), tensor([5, 5]))
    """

    def __init__(self, width: int, *, rule: str = "delta", levels: int = 16, **options) -> None:
        if rule not in RULES:
            raise UnknownName("rule", rule, RULES)
        if levels < 1:
            raise UserError(f"{levels} levels were given", "at least 1 was expected")
        super().__init__(width, **options)
        self.levels = levels
        self.beta = Dense(width, self.heads, bias=False) if rule == "delta" else None
        self.decay = HeadDecay(width, self.heads)
        self.scale = Dense(width, self.heads * levels)
        with torch.no_grad():
            self.scale.bias.fill_(inverse_softplus(torch.tensor(1.0)))
        self.gates = Dense(width, self.values, bias=False)

    @classmethod
    def of_state(cls, width, numbers, **options):
        """With eight times the heads: some hundred tokens have that many levels."""
        return super().of_state(width, numbers // 8, levels=8, **options)

    def initial_state(self, batch: int, capacity: int | None = None) -> BucketState:
        start = super().initial_state(batch)
        position = torch.zeros(batch, dtype=torch.int64, device=start.memory.device)
        levels = (capacity or 0).bit_length()
        buckets = start.memory.new_zeros(batch, levels, *start.memory.shape[1:])
        return BucketState(start.inputs, buckets, position)

    def mix(self, x, state, starts, size):
        q, k, v, inputs = self.project(x, state.inputs, starts)
        y, buckets, position = log_linear_attention(
            q,
            k[:, :, 0],
            v[:, :, 0],
            state.buckets,
            state.position,
            scales=F.softplus(exact(self.scale(x))).unflatten(2, (self.heads, self.levels)),
            log_decay=self.decay(x),
            beta=None if self.beta is None else self.beta(x).sigmoid(),
            starts=starts,
            chunk_size=size,
        )
        return self.finish(y, x), BucketState(inputs, buckets, position)

    def gate(self, x):
        return F.silu(self.gates(x))
