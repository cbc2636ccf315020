"""Parts of the gated delta rules: convolved queries, keys and values, decays, and a gated output."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import nn

from caselli.mixer.dense import Dense
from caselli.mixer.parts import (
    ConvolvedState,
    RecurrentMixer,
    ShortConvolution,
    head_count,
    inverse_softplus,
    log_uniform,
    rms_normalise,
    split_heads,
)
from caselli.ops import exact
from caselli.shapes import Float, Tensor


class ConvolvedMixer(RecurrentMixer):
    """q, k and v through a short convolution before, and a gated norm over each head after the memory.

    A method gives `gate` and `mix`; queries and keys have unit length, and queries d^−½ of it.

    Arguments:
        width: E.
        writes: n, keys and values a token.
        heads: N; by default one for every 64 channels.
        value_factor: channels of all values over E.
        convolution: tokens that the convolution sees.
        chunk_size: tokens, or writes, that are compared directly.
    """

    def __init__(
        self,
        width: int,
        writes: int = 1,
        *,
        heads: int | None = None,
        value_factor: int = 1,
        convolution: int = 4,
        chunk_size: int = 64,
    ) -> None:
        super().__init__(width, chunk_size=chunk_size)
        self.heads, self.values, self.writes = head_count(width, heads), value_factor * width, writes
        inner = width + writes * (width + self.values)
        self.input = Dense(width, inner, bias=False)
        self.convolution = ShortConvolution(inner, convolution)
        self.norm = nn.Parameter(torch.ones(self.values // self.heads))
        self.output = Dense(self.values, width, bias=False)

    def initial_state(self, batch: int, capacity: int | None = None) -> ConvolvedState:
        memory = self.zeros(batch, self.heads, self.width // self.heads, self.values // self.heads)
        return ConvolvedState(self.zeros(batch, *self.convolution.state_shape), memory)

    @abstractmethod
    def gate(self, x: Float[Tensor, "B T E"]) -> Float[Tensor, "B T V"]:
        """Gate that multiplies the normalised outputs."""

    def project(
        self, x: Tensor, inputs: Tensor, starts: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q `B T N d`, k `B T n N d` and v `B T n N v`, and the last inputs of the convolution."""
        projected, inputs = self.convolution(self.input(x), inputs, starts)
        q, k, v = projected.split((self.width, self.writes * self.width, self.writes * self.values), -1)
        q = F.normalize(split_heads(q, self.heads), dim=-1) * (self.width // self.heads) ** -0.5
        k, v = (part.unflatten(2, (self.writes, self.heads, -1)) for part in (k, v))
        return q, F.normalize(k, dim=-1), v, inputs

    def finish(self, y: Tensor, x: Tensor) -> Tensor:
        """The output of what the memory answers."""
        return self.output((rms_normalise(y) * self.norm).flatten(2) * self.gate(x))


class DeltaMixer(ConvolvedMixer):
    """One memory of matrices, and a method's `update` of it. Arguments: as of `ConvolvedMixer`."""

    @abstractmethod
    def update(
        self,
        x: Float[Tensor, "B T E"],
        q: Float[Tensor, "B T N d"],
        k: Float[Tensor, "B T n N d"],
        v: Float[Tensor, "B T n N v"],
        memory: Float[Tensor, "B N d v"],
        **options,
    ) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d v"]]:
        """Outputs, and the memory after the last token; `options` are the op's."""

    def mix(self, x, state, starts, size):
        q, k, v, inputs = self.project(x, state.inputs, starts)
        y, memory = self.update(x, q, k, v, state.memory, starts=starts, chunk_size=size)
        return self.finish(y, x), ConvolvedState(inputs, memory)


class HeadDecay(nn.Module):
    r"""One logarithm of a decay a head, :math:`-A\,\mathrm{softplus}(W x + b)`.

    Arguments:
        width: E.
        heads: N.

    Example:
        >>> bool((HeadDecay(8, 2)(torch.zeros(1, 3, 8)) < 0).all())
        True
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.delta = Dense(width, heads)
        with torch.no_grad():
            self.delta.bias.copy_(inverse_softplus(log_uniform(1e-3, 1e-1, heads).clamp(min=1e-4)))
        self.log_a = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())

    def forward(self, x: Float[Tensor, "B T E"]) -> Float[Tensor, "B T N"]:
        return -exact(self.log_a).exp() * F.softplus(exact(self.delta(x)))


class ChannelDecay(nn.Module):
    r"""One logarithm of a decay a channel of the keys, of a projection of low rank.

    .. math:: g = -A_h\, \mathrm{softplus}(f(x) + b) \quad\text{or, bounded,}\quad
        g = L\, \sigma\big(A_h\, (f(x) + b)\big)

    Arguments:
        width: E, also that of the keys.
        heads: N.
        rank: of f.
        bound: L < 0, the least log decay; 0 for the first form.

    Example:
        >>> ChannelDecay(8, 2, 3, 0.0)(torch.zeros(1, 3, 8)).shape
        torch.Size([1, 3, 2, 4])
    """

    def __init__(self, width: int, heads: int, rank: int, bound: float) -> None:
        super().__init__()
        self.heads, self.bound = heads, bound
        self.project = nn.Sequential(Dense(width, rank, bias=False), Dense(rank, width, bias=False))
        self.bias = nn.Parameter(inverse_softplus(log_uniform(1e-3, 1e-1, width).clamp(min=1e-4)))
        self.log_a = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())

    def forward(self, x: Float[Tensor, "B T E"]) -> Float[Tensor, "B T N d"]:
        return self.of(split_heads(self.project(x), self.heads))

    def of(self, raw: Float[Tensor, "B T N d"]) -> Float[Tensor, "B T N d"]:
        """The decay of what was projected."""
        raw = exact(raw) + exact(self.bias).unflatten(0, (self.heads, -1))
        rate = exact(self.log_a).exp()[:, None]
        return self.bound * torch.sigmoid(rate * raw) if self.bound else -rate * F.softplus(raw)


class ChannelMixer(DeltaMixer):
    """A delta rule with a decay for each channel of the keys, and gates of low rank.

    Arguments:
        width: E.
        rank: rows of the first of two projections to decays, and to gates; by default a head's values.
        bound: the least log decay, e.g. −5; 0 for a softplus without one.
        most: the largest erasing strength, up to 2; above 1 the memory can turn over what it holds (negative
            eigenvalues).
        options: further ones of `ConvolvedMixer`.
    """

    def __init__(
        self, width: int, *, rank: int | None = None, bound: float = 0.0, most: float = 1.0, **options
    ) -> None:
        super().__init__(width, **options)
        rank, self.most = rank or self.values // self.heads, most
        self.decay = ChannelDecay(width, self.heads, rank, bound)
        self.gates = nn.Sequential(Dense(width, rank, bias=False), Dense(rank, self.values))

    def gate(self, x):
        return self.gates(x).sigmoid()
