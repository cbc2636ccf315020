"""A causal mixer forwards and another backwards: every token sees its whole sequence."""

from __future__ import annotations

from abc import abstractmethod

import torch

from caselli.errors import UnknownName, UserError
from caselli.mixer.base import Mixer
from caselli.mixer.dense import Dense
from caselli.mixer.heads import NoState
from caselli.shapes import Bool, Tensor

COMBINATIONS = ("sum", "concatenate")


class TwoMixers(Mixer):
    """Two mixers over whole sequences, and what makes one output of theirs.

    Arguments:
        first, second: mixers of one width.
        combine: "sum"; or "concatenate", which joins the outputs by a linear layer.
    """

    def __init__(self, first: Mixer, second: Mixer, combine: str) -> None:
        super().__init__(first.width, causal=False)
        if combine not in COMBINATIONS:
            raise UnknownName("combination", combine, COMBINATIONS)
        if first.width != second.width:
            raise UserError(
                f"mixers of widths {first.width} and {second.width} were given", "one width was expected"
            )
        self.first, self.second = first, second
        self.output = Dense(2 * self.width, self.width, bias=False) if combine == "concatenate" else None

    def initial_state(self, batch: int, capacity: int | None = None) -> NoState:
        return NoState()

    @abstractmethod
    def both(self, x: Tensor, starts: Tensor | None) -> tuple[Tensor, Tensor]:
        """The two outputs, `B T E`."""

    def parallel(self, x, state, starts):
        one, other = self.both(x, starts)
        return (one + other if self.output is None else self.output(torch.cat((one, other), -1))), state

    def step(self, x, state, starts):
        return self.parallel(x, state, starts)


class Bidirectional(TwoMixers):
    r"""The sum of a mixer over the past and another over the future.

    .. math:: y = \overrightarrow{m}(x) + \mathrm{flip}\big(\overleftarrow{m}(\mathrm{flip}(x))\big)

    The token itself is seen by both. There is no causal form, so no state.

    Arguments:
        forwards, backwards: causal mixers of one width, each with its own parameters.
        combine: "sum"; or "concatenate", which joins the outputs by a linear layer.

    Source: Schuster and Paliwal 1997, Bidirectional Recurrent Neural Networks.

    Example:
        >>> from caselli.mixer import MIXERS
        >>> mixer = Bidirectional(MIXERS["linear"](width=64), MIXERS["linear"](width=64))
        >>> mixer(torch.zeros(2, 5, 64))[0].shape
        torch.Size([2, 5, 64])
    """

    def __init__(self, forwards: Mixer, backwards: Mixer, *, combine: str = "sum") -> None:
        super().__init__(forwards, backwards, combine)
        if not (forwards.causal and backwards.causal):
            raise UserError("a mixer that is not causal was given", "two causal mixers were expected")

    def both(self, x, starts):
        backwards, _ = self.second(x.flip(1), starts=None if starts is None else _ends(starts).flip(1))
        return self.first(x, starts=starts)[0], backwards.flip(1)


def _ends(starts: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """The last token of each sequence."""
    return torch.cat((starts[:, 1:], torch.ones_like(starts[:, :1])), 1)
