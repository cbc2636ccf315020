"""Shared parts of the recurrent mixers: the three forms over one op, heads, states, the short convolution."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from caselli.errors import UserError
from caselli.mixer.base import Mixer, State
from caselli.ops import exact, short_convolution
from caselli.shapes import Bool, Float, Shaped, Tensor


class RecurrentMixer(Mixer):
    """A mixer over an op that takes its chunk size: the whole length, `chunk_size` or one token."""

    preferred_form = "chunk"

    @abstractmethod
    def mix(self, x: Tensor, state: State, starts: Tensor | None, size: int) -> tuple[Tensor, State]:
        """All T ≥ 1 tokens, `size` of them compared at a time."""

    def parallel(self, x, state, starts):
        return self.mix(x, state, starts, x.shape[1])

    def chunk(self, x, state, starts):
        return self.mix(x, state, starts, self.chunk_size)

    def step(self, x, state, starts):
        return self.mix(x, state, starts, 1)

    def zeros(self, *shape: int) -> Tensor:
        """Zeros for a state: in the parameters' dtype, but at least float32."""
        like = self.like()
        if like["dtype"] in (torch.bfloat16, torch.float16):
            like["dtype"] = torch.float32
        return torch.zeros(*shape, **like)


@dataclasses.dataclass(frozen=True)
class MatrixState(State):
    """One matrix a head: what was stored under which key."""

    matrix: Float[Tensor, "B N d v"]


@dataclasses.dataclass(frozen=True)
class ConvolvedState(State):
    """The last inputs of a short convolution, and the recurrence's state."""

    inputs: Float[Tensor, "B past D"]
    memory: Float[Tensor, "B *S"]


@dataclasses.dataclass(frozen=True)
class ShiftedState(State):
    """The last token, and the recurrence's state."""

    token: Float[Tensor, "B E"]
    memory: Float[Tensor, "B *S"]


def head_count(width: int, heads: int | None) -> int:
    """The number of heads, by default one for every 64 channels; `UserError` where they do not divide.

    Example:
        >>> head_count(256, None)
        4
    """
    heads = heads or max(1, width // 64)
    if width % heads:
        raise UserError(f"width {width} and heads {heads} were given", "a multiple of the heads was expected")
    return heads


def split_heads(x: Shaped[Tensor, "B T D"], heads: int) -> Shaped[Tensor, "B T N d"]:
    """Neighbouring channels to a head."""
    return x.unflatten(2, (heads, -1))


def rms_normalise(x: Float[Tensor, "*A d"], epsilon: float = 1e-5) -> Float[Tensor, "*A d"]:
    """x over the root of its mean square, in float32 at least; differentiable once.

    Example:
        >>> rms_normalise(torch.tensor([3.0, 3.0])).round(decimals=3)
        tensor([1., 1.])
    """
    return _RMSNormalise.apply(x, epsilon)


class _RMSNormalise(torch.autograd.Function):
    """Half of the passes over memory that autograd would make."""

    @staticmethod
    def forward(ctx, x, epsilon):
        wide = exact(x)
        scale = (torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_() / x.shape[-1]).add_(epsilon)
        scale.rsqrt_()
        y = wide * scale
        ctx.save_for_backward(y, scale)
        return y.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        y, scale = ctx.saved_tensors
        wide = exact(gradient)
        along = (wide * y).mean(-1, keepdim=True)
        return torch.addcmul(wide, y, along, value=-1).mul_(scale).to(gradient.dtype), None


def inverse_softplus(x: Tensor) -> Tensor:
    """The x whose softplus is given.

    Example:
        >>> inverse_softplus(torch.tensor(1.0)).exp().add(1).log().item()
        1.0
    """
    return x + torch.log(-torch.expm1(-x))


def log_uniform(low: float, high: float, *shape: int) -> Tensor:
    """Numbers between low and high, even on a logarithmic scale: time steps at initialisation.

    Example:
        >>> bool((log_uniform(0.001, 0.1, 100) <= 0.1).all())
        True
    """
    return torch.exp(torch.empty(*shape).uniform_(math.log(low), math.log(high)))


class ShortConvolution(nn.Module):
    """`caselli.ops.short_convolution` with its parameters.

    Arguments:
        channels: D.
        width: W, how many tokens it sees.
        bias: whether it has one.

    Example:
        >>> y, state = ShortConvolution(3)(torch.zeros(2, 5, 3), torch.zeros(2, 3, 3))
        >>> y.shape, state.shape
        (torch.Size([2, 5, 3]), torch.Size([2, 3, 3]))
    """

    def __init__(self, channels: int, width: int = 4, *, bias: bool = False) -> None:
        super().__init__()
        if width < 1:
            raise UserError(f"a convolution of {width} tokens was given", "at least 1 was expected")
        self.weight = nn.Parameter(torch.empty(channels, width).uniform_(-1, 1) / math.sqrt(width))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None

    @property
    def state_shape(self) -> tuple[int, int]:
        """The axes of its state after the batch."""
        return self.weight.shape[1] - 1, self.weight.shape[0]

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        state: Float[Tensor, "B past D"],
        starts: Bool[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B past D"]]:
        return short_convolution(x, self.weight, state, bias=self.bias, starts=starts)
