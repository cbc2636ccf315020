"""Parts of the time-invariant state-space mixers: one system a channel, in chunks or by convolution."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import nn

from caselli.mixer.base import State
from caselli.mixer.dense import Dense
from caselli.mixer.parts import RecurrentMixer
from caselli.ops import Segments, before, exact, fold, forget, long_convolution, no_autocast
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class ChannelState(State):
    """S numbers a channel: real parts of the modes, then imaginary parts."""

    memory: Float[Tensor, "B D S"]


@dataclasses.dataclass(frozen=True)
class Response:
    """A system over C tokens."""

    kernel: Float[Tensor, "D C"]
    """C Āˡ B̄."""
    read: Float[Tensor, "D C S"]
    """C Ā^{t+1}: what the state before the chunk gives to token t."""
    write: Float[Tensor, "D S C"]
    """Ā^{C−1−s} B̄: what token s gives to the state after the chunk."""


class StateSpace(RecurrentMixer):
    r"""A linear time-invariant system for each channel, then GELU and a gated mix of the channels.

    .. math::
        x_t = \bar A x_{t-1} + \bar B u_t, \quad y_t = \mathrm{GLU}\big(W\, \mathrm{gelu}(C x_t + D u_t)\big)

    A method gives the system: its `response`, `kernel`, `carry` and `advance`. The parallel form is a
    convolution with the whole kernel; packed sequences always go in chunks.
    """

    def __init__(self, width: int, *, state_size: int, chunk_size: int) -> None:
        super().__init__(width, chunk_size=chunk_size)
        self.state_size = state_size
        self.skip = nn.Parameter(torch.randn(width))
        self.output = Dense(width, 2 * width)

    @classmethod
    def of_state(cls, width, numbers, **options):
        return cls(width, state_size=numbers // width, **options)

    @abstractmethod
    def response(self, size: int) -> Response:
        """The system over a chunk."""

    @abstractmethod
    def kernel(self, length: int) -> Float[Tensor, "D L"]:
        """C Āˡ B̄ over the whole sequence."""

    @abstractmethod
    def carry(
        self,
        written: Float[Tensor, "B n D S"],
        passes: Tensor | None,
        state: Float[Tensor, "B D S"],
        size: int,
    ) -> Float[Tensor, "B n D S"]:
        """The states after chunks of `size` tokens; where `passes` (`B n`) is False the past is forgotten."""

    @abstractmethod
    def advance(
        self, x: Float[Tensor, "B D"], state: Float[Tensor, "B D S"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D S"]]:
        """One token: C x and the state x."""

    def initial_state(self, batch: int, capacity: int | None = None) -> ChannelState:
        return ChannelState(self.zeros(batch, self.width, self.state_size))

    def parallel(self, x, state, starts):
        if starts is not None:
            return self.chunk(x, state, starts)
        u = exact(x)
        with no_autocast(x):
            y = long_convolution(u, self.kernel(x.shape[1]))
            left, _ = self._chunks(torch.zeros_like(u), state.memory, None, self.chunk_size)
            _, memory = self._chunks(u, state.memory, None, self.chunk_size)
        return self._finish(y + left, x), ChannelState(memory)

    def step(self, x, state, starts):
        memory = forget(state.memory, None if starts is None else starts[:, 0])
        with no_autocast(x):
            y, memory = self.advance(exact(x[:, 0]), memory)
        return self._finish(y[:, None], x), ChannelState(memory)

    def mix(self, x, state, starts, size):
        with no_autocast(x):
            y, memory = self._chunks(exact(x), state.memory, starts, size)
        return self._finish(y, x), ChannelState(memory)

    def _finish(self, y, x):
        y = F.gelu(y.to(x.dtype) + x * self.skip)
        return F.glu(self.output(y), -1)

    def _chunks(self, x, state, starts, size):
        """Whole chunks, then the rest: zeros at the end would let the state fade."""
        whole = x.shape[1] // size * size
        outputs = []
        for part, length in ((slice(0, whole), size), (slice(whole, None), x.shape[1] - whole)):
            if x[:, part].shape[1]:
                marks = None if starts is None else starts[:, part]
                y, state = self._equal_chunks(x[:, part], state, marks, length)
                outputs.append(y)
        return torch.cat(outputs, 1), state

    def _equal_chunks(self, x, state, starts, size):
        response, segments = self.response(size), None
        x = fold(x, size)
        read_mask = write_mask = passes = None
        if starts is not None:
            segments = Segments.of(starts, size)
            read_mask, write_mask, passes = segments.reads, segments.writes, segments.passes
        written = x if write_mask is None else x * write_mask[..., None]
        written = torch.einsum("dsc,bncd->bnds", response.write, written)
        states = self.carry(written, passes, state, size)
        left = torch.einsum("dcs,bnds->bncd", response.read, before(state, states))
        if segments is None:
            y = torch.einsum("dts,bnsd->bntd", toeplitz(response.kernel), x) + left
        else:
            y = _packed_convolution(x, response.kernel, segments.together) + left * read_mask[..., None]
        return y.flatten(1, 2), states[:, -1]


def toeplitz(kernel: Float[Tensor, "D C"]) -> Float[Tensor, "D C C"]:
    """The lower triangular matrix that convolves.

    Example:
        >>> toeplitz(torch.tensor([[1.0, 2.0]]))
        tensor([[[1., 0.],
                 [2., 1.]]])
    """
    size = kernel.shape[1]
    index = torch.arange(size, device=kernel.device)
    lag = index[:, None] - index
    return kernel[:, lag.clamp(min=0)] * (lag >= 0)


def _packed_convolution(x, kernel, together):
    """Lag by lag, each only within its sequence."""
    y = kernel[:, 0] * x
    for lag in range(1, x.shape[2]):
        known = together.diagonal(-lag, -2, -1)[..., None]
        y = y + F.pad(kernel[:, lag] * x[:, :, :-lag] * known, (0, 0, lag, 0))
    return y
