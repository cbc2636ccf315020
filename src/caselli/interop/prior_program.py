"""A prior's step as programs: the state goes in and comes out, one tensor after another."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from caselli.mixer import Attention, LocalAttention, Mixer
from caselli.mixer.parts import RecurrentMixer
from caselli.prior import Autoregressive, Conditions, Prior
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class StepForm:
    """A mixer's step as a program of tensors of fixed shapes."""

    begin: Callable[[Mixer, int, int], list[Tensor]]
    """Mixer, batch, capacity in tokens → tensors of the state before the first token."""
    step: Callable[[Mixer, Tensor, Sequence[Tensor], Tensor], tuple[Tensor, list[Tensor]]]
    """Mixer, token `B 1 E`, tensors of the state, number of tokens before → output, the state behind it."""


def refusal(prior: Prior) -> str | None:
    """Reason for which a prior has no step that is a program; None where it has one."""
    straight = prior.straight()
    if straight is None:
        return f"a prior of kind {prior.kind} does not go code by code"
    if not straight.code_head.tabular:
        return "its head draws a code in parts"
    if straight.conditioner.padded:
        return "its captions are of many tokens, seen by a network of their own"
    others = {type(block.mixer).__name__ for block in straight.blocks if form_of(block.mixer) is None}
    return f"the state of {' and '.join(sorted(others))} has no fixed size" if others else None


class Beginning(nn.Module):
    """Conditions → what every place of the sequence is given beside its code, and the state before it.

    Arguments:
        prior: autoregressive.
    """

    noun = "prior"

    def __init__(self, prior: Autoregressive) -> None:
        super().__init__()
        self.prior = prior

    def parts(self) -> dict[str, tuple[int, ...]]:
        """The inputs: name of a part of the conditions → its axes after the batch."""
        alphabet, found = self.prior.alphabet, {"labels": ()}
        if alphabet.text is not None:
            found["text"] = (alphabet.text.size,)
        if alphabet.picture:
            found["codes"] = (len(alphabet.picture),)
        return found

    def forward(self, *parts: Tensor) -> tuple[Float[Tensor, "B L E"], ...]:
        conditions = Conditions(**dict(zip(self.parts(), parts, strict=True)))
        batch = parts[0].shape[0]
        prefix, positions, modulating = self.prior.conditioned(conditions, batch)
        positions = positions.expand(batch, -1, -1)
        places = torch.cat((prefix[:, :1] + positions[:, :1], prefix[:, 1:], positions[:, 1:]), 1)
        kept = [] if modulating is None else [modulating]
        return places, *kept, *(tensor for state in states(self.prior, batch) for tensor in state)


class Stepping(nn.Module):
    """One token: the state behind it, and the logits of the next slot, −∞ where an entry is not allowed.

    What modulates the layers, if anything does, is the first tensor of the state, and stays.

    Arguments:
        prior: autoregressive.
    """

    noun = "prior"

    def __init__(self, prior: Autoregressive) -> None:
        super().__init__()
        self.before = prior.conditioner.length
        self.counts = [len(state) for state in states(prior, 1)]
        self.kept = int(prior.config.layer.modulation)
        self.prior = copy.deepcopy(prior)
        for block in self.prior.blocks:
            block.mixer = Stepped(block.mixer)

    def forward(
        self, codes: Int[Tensor, "B"], place: Int[Tensor, ""], vector: Float[Tensor, "B E"], *state: Tensor
    ) -> tuple[Tensor, ...]:
        prior, slot = self.prior, place - self.before + 1
        told = prior.code(codes + prior.offset[(slot - 1).clamp_min(0)])
        x = (vector + torch.where(slot > 0, told, torch.zeros_like(told)))[:, None]
        kept, rest = list(state[: self.kept]), list(state[self.kept :])
        layers = []
        for count in self.counts:
            layers, rest = [*layers, (rest[:count], place)], rest[count:]
        y, after = prior.through(x, tuple(layers), *kept)
        tensors = [tensor for new, _ in after for tensor in new]
        return prior.outputs(y, slot.clamp_min(0)[None])[:, 0], *kept, *tensors


class Stepped(nn.Module):
    """A mixer that takes one token, and a state of plain tensors with the number of tokens before."""

    def __init__(self, mixer: Mixer) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(
        self, x: Float[Tensor, "B 1 E"], state: tuple[list[Tensor], Tensor], *, starts: None = None
    ) -> tuple[Float[Tensor, "B 1 E"], tuple[list[Tensor], Tensor]]:
        tensors, place = state
        y, after = form_of(self.mixer).step(self.mixer, x, tensors, place)
        return y, (after, place)


def states(prior: Autoregressive, batch: int) -> list[list[Tensor]]:
    """The tensors of each layer's state before the first token, with room for a whole sequence."""
    capacity = prior.conditioner.length + prior.alphabet.length - 1
    return [form_of(block.mixer).begin(block.mixer, batch, capacity) for block in prior.blocks]


# the forms of a step ----------------------------------------------------------------------------------------


def _recurrent_begin(mixer: Mixer, batch: int, capacity: int) -> list[Tensor]:
    return mixer.initial_state(batch, capacity).tensors()


def _recurrent_step(mixer, x, state, place):
    """The mixer's own step."""
    rest: Iterator[Tensor] = iter(state)
    whole = mixer.initial_state(1).apply(lambda _: next(rest))
    if any(field.name == "length" for field in dataclasses.fields(whole)):
        whole = dataclasses.replace(whole, length=place.item())
    y, after = mixer.step(x, whole, None)
    return y, after.tensors()


def _cached_begin(mixer: Mixer, batch: int, capacity: int) -> list[Tensor]:
    empty = torch.zeros(batch, mixer.kv_heads, capacity, mixer.head_width)
    return [empty, empty.clone()]


def _cached_step(mixer, x, state, place):
    """Attention over keys and values in tensors of one size, of which those at `place` are written."""
    keys, values = state
    token = torch.arange(keys.shape[2])
    q, k, v = mixer.project(x, place.item())
    here = (token == place)[:, None]
    keys, values = torch.where(here, k, keys), torch.where(here, v, values)
    seen = token <= place
    if mixer.window:
        seen = seen & (token > place - mixer.window)
    k, v = mixer.repeated(keys, values)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(2, 3)
    y = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v
    return mixer.join(y), [keys, values]


STEP_FORMS: dict[type[Mixer], StepForm] = {
    RecurrentMixer: StepForm(_recurrent_begin, _recurrent_step),
    Attention: StepForm(_cached_begin, _cached_step),
    LocalAttention: StepForm(_cached_begin, _cached_step),
}
"""Mixers, or what several have in common, and the form of their step."""


def form_of(mixer: Mixer) -> StepForm | None:
    """The form of a mixer's step; None where it has none of fixed shapes."""
    return next((STEP_FORMS[kind] for kind in type(mixer).__mro__ if kind in STEP_FORMS), None)
