"""A causal mixer forwards and another backwards: every token sees its whole sequence."""

from __future__ import annotations

import torch

from caselli.errors import UnknownName, UserError
from caselli.mixer.base import Mixer
from caselli.mixer.dense import Dense
from caselli.mixer.heads import NoState
from caselli.shapes import Bool, Tensor

COMBINATIONS = ("sum", "concatenate")


class Bidirectional(Mixer):
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
        super().__init__(forwards.width, causal=False)
        if combine not in COMBINATIONS:
            raise UnknownName("combination", combine, COMBINATIONS)
        if forwards.width != backwards.width:
            raise UserError(
                f"mixers of widths {forwards.width} and {backwards.width} were given",
                "one width was expected",
            )
        if not (forwards.causal and backwards.causal):
            raise UserError("a mixer that is not causal was given", "two causal mixers were expected")

        self.first, self.second = forwards, backwards
        self.output = Dense(2 * self.width, self.width, bias=False) if combine == "concatenate" else None

    def initial_state(self, batch: int, capacity: int | None = None) -> NoState:
        return NoState()

    def parallel(self, x, state, starts):
        ends = None if starts is None else _ends(starts).flip(1)
        one, other = self.first(x, starts=starts)[0], self.second(x.flip(1), starts=ends)[0].flip(1)
        return (one + other if self.output is None else self.output(torch.cat((one, other), -1))), state


def _ends(starts: Bool[Tensor, "B T"]) -> Bool[Tensor, "B T"]:
    """The last token of each sequence."""
    return torch.cat((starts[:, 1:], torch.ones_like(starts[:, :1])), 1)
