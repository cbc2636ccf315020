"""The head of a prior: the distribution of one code, given the vector that the network gives its slot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import ClassVar

import torch
from torch import nn

from caselli.ops import cross_entropy
from caselli.prior.config import Alphabet, PriorConfig
from caselli.shapes import Float, Int, Tensor

Slots = int | slice | Tensor | list[int]
"""Slots of a sequence, as an index of their axis."""
Walk = Generator[tuple[Tensor, int], Tensor, Tensor]
"""Yields the logits `*A n V` of the next n parts of codes and the number of parts before them, is sent their
values `*A n`, and returns the codes `*A`."""


class Head(nn.Module, ABC):
    r"""The distribution of a code x as that of its parts, one after another or several at a time.

    .. math:: \log p(x \mid y) = \sum_j \log p(x_j \mid y, \text{parts before})

    y is the output of `Prior.head`, a linear layer of the network. A head extends this class, is final, has
    its line in `caselli.prior.HEADS`, is built from the prior's configuration and alphabet, and gives `walk`,
    the one definition from which likelihood, drawing and coding follow.
    """

    tabular: ClassVar[bool] = False
    """True where y is the logits over the entries of all codebooks joined."""
    refuses: ClassVar[tuple[str, ...]] = ("top_k", "min_p")
    """Fields of `caselli.sampling.Sampling` that have no meaning for it."""
    parts: int
    """Number of parts of a code; each takes a uniform number when it is drawn."""
    features: int
    """Width of y."""

    @staticmethod
    @abstractmethod
    def embedding(alphabet: Alphabet, width: int, null: bool = False) -> nn.Module:
        """A module with a `weight` that turns entries of all codebooks joined into vectors; with `null` also
        the entry behind the last."""

    def outputs(self, y: Float[Tensor, "*A F"], slots: Slots) -> Float[Tensor, "*A F"]:
        """y as `walk` and the likelihood take it, by default at least float32."""
        return widened(y)

    @abstractmethod
    def walk(self, outputs: Float[Tensor, "*A F"], slots: Slots) -> Walk:
        """Goes through the parts of the codes at slots, see `Walk`."""

    @abstractmethod
    def split(self, codes: Int[Tensor, "*A"], slots: Slots) -> Int[Tensor, "*A parts"]:
        """Values of the parts, in the order in which `walk` asks for them."""

    def log_prob(
        self, outputs: Float[Tensor, "*A F"], codes: Int[Tensor, "*A"], slots: Slots
    ) -> Float[Tensor, "*A"]:
        """log p of the codes in nats, exact."""
        return -sum(nats.sum(-1) for nats in self._costs(outputs, codes, slots))

    def every_log_prob(self, outputs: Float[Tensor, "B F"], slot: int, size: int) -> Float[Tensor, "B size"]:
        """log p of each of the `size` codes of one slot, in nats."""
        codes = torch.arange(size, device=outputs.device).expand(len(outputs), size)
        return self.log_prob(outputs[:, None].expand(-1, size, -1), codes, [slot] * size)

    def part_logits(self, outputs: Tensor, codes: Tensor, slots: Slots) -> list[Float[Tensor, "*A n V"]]:
        """Logits of all parts, each given the codes' own parts before."""
        values, found = self.split(codes, slots), []

        def choose(logits: Tensor, first: int) -> Tensor:
            found.append(logits)
            return values[..., first : first + logits.shape[-2]]

        follow(self.walk(outputs, slots), choose)
        return found

    def _costs(self, outputs, codes, slots) -> list[Float[Tensor, "*A n"]]:
        values, first, costs = self.split(codes, slots), 0, []
        for logits in self.part_logits(outputs, codes, slots):
            own = values[..., first : first + logits.shape[-2]]
            costs.append(cost(logits, own))
            first += own.shape[-1]
        return costs

    def noisy(self, seen: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        """The codes that the network sees in training: as they are."""
        return seen


def widened(x: Tensor) -> Tensor:
    """At least float32: half precision is widened, float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def follow(walk: Walk, choose: Callable[[Tensor, int], Tensor]) -> Int[Tensor, "*A"]:
    """The codes at the end of a walk whose values are chosen by `choose(logits, parts before)`."""
    asked = next(walk)
    while True:
        try:
            asked = walk.send(choose(*asked))
        except StopIteration as end:
            return end.value


def cost(logits: Float[Tensor, "*A V"], values: Int[Tensor, "*A"]) -> Float[Tensor, "*A"]:
    """−log p of values in nats.

    Example:
        >>> cost(torch.zeros(1, 2), torch.tensor([1])).exp()
        tensor([2.])
    """
    return cross_entropy(logits.flatten(0, -2), values.flatten()).view(values.shape)


class Softmax(Head):
    """One softmax over all codes: a code is a single part, and y its logits."""

    tabular = True
    refuses = ()
    parts = 1

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        super().__init__()
        self.features = sum(alphabet.sizes)
        self.masks = len(alphabet.sizes) > 1 or bool(alphabet.limits)
        first = torch.tensor(alphabet.offsets)
        entries, size = torch.arange(self.features), torch.tensor(alphabet.slot_sizes)
        allowed = (entries >= first[:, None]) & (entries < (first + size)[:, None])
        self.register_buffer("allowed", allowed, persistent=False)
        self.register_buffer("offset", first, persistent=False)

    @staticmethod
    def embedding(alphabet: Alphabet, width: int, null: bool = False) -> nn.Module:
        return nn.Embedding(sum(alphabet.sizes) + null, width)

    def outputs(self, y, slots):
        """Logits as the network gives them, −∞ for entries that the slot does not have."""
        return y.masked_fill(~self.allowed[slots], -torch.inf) if self.masks else y

    def walk(self, outputs, slots):
        # float32 of any precision: streams that the codec has written depend on it
        entries = yield outputs.float()[..., None, :], 0
        return entries[..., 0] - self.offset[slots]

    def split(self, codes, slots):
        return (codes + self.offset[slots])[..., None]

    def _costs(self, outputs, codes, slots):
        # not by way of `walk`, as the cost widens half precision in pieces
        return [cost(outputs[..., None, :], self.split(codes, slots))]

    def every_log_prob(self, outputs, slot, size):
        first = int(self.offset[slot])
        return outputs[:, first : first + size].float().log_softmax(-1)
