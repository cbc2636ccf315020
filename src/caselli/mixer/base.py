"""The contract of every sequence mixer, and the record that it carries from piece to piece."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from caselli.errors import UnknownName, UserError
from caselli.shapes import Bool, Float, Tensor

FORMS = ("auto", "parallel", "chunk", "step")

S = TypeVar("S", bound="State")


@dataclasses.dataclass(frozen=True)
class State(ABC):  # noqa: B024 (abstract: a method extends it with its tensors)
    """A mixer's memory of the tokens so far: an immutable record of tensors (and of plain numbers).

    A method's own state is a frozen dataclass that extends this one. Its tensors are differentiable and have
    the batch on axis 0, so that states can be forked, joined and moved.
    """

    def apply(self: S, function: Callable[[Tensor], Tensor]) -> S:
        """A copy of the record with `function` applied to each tensor, nested records included."""
        changes = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changes[field.name] = function(value)
            elif isinstance(value, State):
                changes[field.name] = value.apply(function)
            elif isinstance(value, tuple) and value and isinstance(value[0], State):
                changes[field.name] = tuple(part.apply(function) for part in value)
        return dataclasses.replace(self, **changes)

    def tensors(self) -> list[Tensor]:
        """Every tensor of the record, in order."""
        found: list[Tensor] = []
        self.apply(lambda tensor: found.append(tensor) or tensor)
        return found

    def detach(self: S) -> S:
        """The record cut off from the graph (truncated back-propagation)."""
        return self.apply(Tensor.detach)

    def clone(self: S) -> S:
        """A copy that shares no memory: fork a sequence with it."""
        return self.apply(Tensor.clone)


class Mixer(nn.Module, ABC):
    """Sequence → sequence of the same shape; one function, computed in three ways.

    `mixer(x, state=None, *, form="auto", starts=None) -> (y, state)` with x and y `B T E`. The forms are

    * `parallel`: all tokens at once, by the definition or close to it;
    * `chunk`: pieces of `chunk_size` tokens, matrix products within and a carried state between them;
    * `step`: token by token, as when sampling;

    and equal each other. `auto` takes `step` for one token and `preferred_form` otherwise. `state` continues
    a sequence anywhere, any number of tokens at a time (0 included). `starts` marks the tokens at which a
    packed sequence begins: what came before, the given state included, is forgotten there.

    A method extends this class, is final, and gives `parallel`, `step` and `initial_state`; `chunk` where it
    has something better than `parallel` piece by piece.
    """

    preferred_form = "parallel"
    bounded = False
    """Built for sequences of at most so many tokens, which its argument `length` says."""
    has_extras = False
    """True where options change its arithmetic in a way that only its own forms know, not compiled steps."""

    def __init__(self, width: int, *, causal: bool = True, chunk_size: int = 64) -> None:
        super().__init__()
        if chunk_size < 1:
            raise UserError(f"chunk_size {chunk_size} was given", "at least 1 was expected")
        self.width, self.causal, self.chunk_size = width, causal, chunk_size

    def forward(
        self,
        x: Float[Tensor, "B T E"],
        state: State | None = None,
        *,
        form: str = "auto",
        starts: Bool[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, "B T E"], State]:
        if form not in FORMS:
            raise UnknownName("form", form, FORMS)
        if not self.causal and (state is not None or form in ("chunk", "step")):
            raise UserError(
                f"a bidirectional {type(self).__name__} was given a state or form {form!r}",
                "it sees the whole sequence at once, and has only the parallel form",
                "build it with causal=True to go through a sequence piece by piece",
            )
        if state is None:
            state = self.initial_state(x.shape[0])
        if x.shape[1] == 0:
            return x, state
        if form == "auto":
            form = "step" if x.shape[1] == 1 and self.causal else self.preferred_form
        compute = {"parallel": self.parallel, "chunk": self.chunk, "step": self._steps}[form]
        return compute(x, state, starts)

    @classmethod
    def of_state(cls, width: int, numbers: int, **options) -> Mixer:
        """A mixer whose state has about so many numbers, to compare it with others of equal state.

        One that keeps every token has as many heads as another with that state; one whose state has a single
        size keeps it. A few tokens beside the state, as of a short convolution, are not counted.

        Arguments:
            width: E.
            numbers: E · S, where S, the numbers a channel, is a multiple of 8 that divides the width.
            options: further ones of the mixer.

        Example:
            >>> from caselli.mixer import MIXERS
            >>> mixer = MIXERS["linear"].of_state(64, 1024, normalise=False)
            >>> sum(tensor.numel() for tensor in mixer.initial_state(1).tensors())
            1024
        """
        return cls(width, heads=max(1, width**2 // numbers), **options)

    @abstractmethod
    def initial_state(self, batch: int, capacity: int | None = None) -> State:
        """The state before the first token; `capacity` is the number of tokens to make room for, where a
        method's state grows with them."""

    @abstractmethod
    def parallel(self, x: Tensor, state: State, starts: Tensor | None) -> tuple[Tensor, State]:
        """All T ≥ 1 tokens at once."""

    def step(self, x: Tensor, state: State, starts: Tensor | None) -> tuple[Tensor, State]:
        """One token: x `B 1 E`, starts `B 1`; by default as several at once."""
        return self.parallel(x, state, starts)

    def peek(self, x: Float[Tensor, "B T E"], state: State) -> Float[Tensor, "B T E"]:
        """Outputs of T tokens of which each comes next by itself: none sees another, and none is kept."""
        each = state.apply(lambda tensor: tensor.repeat_interleave(x.shape[1], 0))
        return self.step(x.flatten(0, 1)[:, None], each, None)[0].view(x.shape)

    def remembered(self, x: Float[Tensor, "B T E"], state: S) -> S:
        """The state behind some more tokens whose outputs nobody asks for."""
        return self(x, state)[1]

    def cut(self, before: S, after: S, count: int) -> S | None:
        """The state behind the first `count` of the tokens that led from one state to another; None where
        that is not in them, and the tokens must go through again."""
        return None

    def chunk(self, x: Tensor, state: State, starts: Tensor | None) -> tuple[Tensor, State]:
        """Pieces of `chunk_size` tokens, the state carried between them."""
        return self._pieces(self.parallel, self.chunk_size, x, state, starts)

    def _steps(self, x: Tensor, state: State, starts: Tensor | None) -> tuple[Tensor, State]:
        return self._pieces(self.step, 1, x, state, starts)

    def _pieces(self, compute, size, x, state, starts):
        # split, not slices: the gradient of n slices of one tensor takes n times its size
        xs = x.split(size, 1)
        beginnings = [None] * len(xs) if starts is None else starts.split(size, 1)
        outputs = []
        for piece, begins in zip(xs, beginnings, strict=True):
            y, state = compute(piece, state, begins)
            outputs.append(y)
        return torch.cat(outputs, 1), state

    def like(self) -> dict:
        """`dtype` and `device` for new tensors of the state."""
        parameter = next(self.parameters())
        return {"dtype": parameter.dtype, "device": parameter.device}
