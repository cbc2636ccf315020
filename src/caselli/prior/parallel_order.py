"""A distribution over sequences of codes that are drawn in any order and in rounds, through a cache."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from caselli.errors import UserError
from caselli.mixer import MIXERS, Mixer, State
from caselli.prior.base import SequencePrior
from caselli.prior.block import build_mixers
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.drawing import Drawing
from caselli.prior.random_order import of_each, of_slots
from caselli.prior.round_attention import RoundAttention, rounds_mask
from caselli.prior.rounds import locality_order, round_sizes
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class ParallelOrderOptions:
    """Options of a prior of parallel random order."""

    steps: int = 8
    """Rounds in which it draws, and of which `log_prob` is, unless others are asked for."""
    random_share: float = 0.5
    """Share of random orders in training; the others are those in which it draws."""
    order_seed: int = 0
    """Seed of the order in which it draws, the same for every picture."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"prior steps {self.steps} was given", "at least 1 was expected")
        if not 0 <= self.random_share <= 1:
            raise UserError(f"random_share {self.random_share} was given", "a share, 0 to 1, was expected")


class ParallelOrder(SequencePrior):
    r"""Codes in any order σ, those of a round r at once, asked for by queries that name their places.

    .. math::
        \log p(x \mid c) = \sum_r \sum_{i \in r} \log p(x_{\sigma_i} \mid c, x_{\sigma_{<r}}, \sigma_{\le r})

    The codes drawn so far are the sequence that a mixer's state is of; a query is a learned vector and the
    embedding of its place, sees that state and, in attention, the other queries of its round, and leaves
    nothing behind. So a round costs the codes of the round before and its own queries, whatever was drawn.

    Rounds draw by a schedule, few codes at first; places follow `locality_order`. Order and rounds are a
    function of what is known, so that `log_prob`, in the order and rounds of drawing unless told otherwise,
    is the exact likelihood of what is drawn.

    Arguments:
        config: the architecture; see `ParallelOrderOptions`. Its attention is `RoundAttention`; any other
            mixer with a state goes through the codes in their order, its queries blind to each other.
        alphabet: slots, codebooks, conditions and places.

    Sources: Li et al. 2025, Autoregressive Image Generation with Randomized Parallel Decoding; Zhang et al.
    2025, Locality-aware Parallel Decoding for Efficient Autoregressive Image Generation.

    Example:
        >>> config = PriorConfig(kind="parallel_order", width=32, depth=1)
        >>> prior = ParallelOrder(config, Alphabet((8,), (0,) * 4))
        >>> sequence = torch.zeros(2, 4, dtype=torch.int64)
        >>> prior.log_prob(sequence, None, order=torch.tensor([[2, 0, 1, 3]] * 2), sizes=[1, 3]).shape
        torch.Size([2, 4])
    """

    kind = "parallel_order"
    options_kind = ParallelOrderOptions
    sampling_options = ("steps", "mask_schedule")
    any_order = True

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        if config.layer.modulation or config.layer.norm_place == "after" or config.layer.entrance:
            raise UserError(
                "a layer with modulation, entrance or norm_place after was given",
                "a parallel-order prior has layers that normalise first, without modulation",
            )
        super().__init__(config, alphabet, alphabet.length)
        self.query = nn.Parameter(0.02 * torch.randn(config.width))
        places = torch.tensor(alphabet.places or [(0, slot) for slot in range(alphabet.length)])
        self.register_buffer("places", places, persistent=False)
        self.at_once = set(config.mixers()) == {"attention"}

    def mixers(self) -> list[Mixer]:
        config, table = self.config, MIXERS | {"attention": RoundAttention}
        return build_mixers(config.mixers(), config.depth, config.width, config.mixer_options, table=table)

    # the distribution ---------------------------------------------------------------------------------------

    def log_prob(
        self,
        sequence,
        condition,
        seen=None,
        order: Int[Tensor, "B T"] | None = None,
        sizes: list[int] | None = None,
    ):
        """log p of each slot in nats, as of `Prior`.

        Arguments:
            order: an order of the slots for each sequence; by default the one in which it draws.
            sizes: slots of each round, T in sum; by default those of its own number of steps.
        """
        sizes = sizes or round_sizes(self.alphabet.length, self.rounds())
        order = self.order(sizes).expand(sequence.shape) if order is None else order
        given = (sequence if seen is None else seen).gather(1, order)
        logits = self.logits(given, condition, order, sizes)
        found = self.code_head.log_prob(logits, sequence.gather(1, order), order)
        return torch.zeros_like(found).scatter(1, order, found)

    def order(self, sizes: list[int]) -> Int[Tensor, "1 T"]:
        """The order of drawing in rounds of these sizes where nothing is known."""
        known = torch.zeros(1, self.alphabet.length, dtype=torch.bool, device=self.offset.device)
        return locality_order(self.places, known, sizes, self.options.order_seed)

    def logits(
        self, ordered: Int[Tensor, "B T"], condition, order, sizes: list[int]
    ) -> Float[Tensor, "B T F"]:
        """Parameters of the head's distribution of each slot of the order, from the rounds before."""
        prefix, positions, _ = self.conditioned(condition, len(ordered))
        last = ordered.shape[1] - sizes[-1]
        codes = self._inputs(ordered[:, :last], order[:, :last], positions)
        queries = self.query + of_slots(positions, order)
        y = (self._all_rounds if self.at_once else self._in_turn)(prefix, codes, queries, sizes)
        return self.outputs(y, order)

    def logits_at(self, slot, sequence, condition):
        slots = torch.arange(sequence.shape[1], device=sequence.device)
        last = torch.cat((slots[slots != slot], slots[slot : slot + 1])).expand(sequence.shape)
        sizes = [size for size in (len(slots) - 1, 1) if size]
        return self.logits(sequence.gather(1, last), condition, last, sizes)[:, -1]

    def _inputs(self, codes, slots, positions) -> Float[Tensor, "B N E"]:
        return self.code(codes + self.offset[slots]) + of_slots(positions, slots)

    def _all_rounds(self, prefix, codes, queries, sizes) -> Float[Tensor, "B T E"]:
        """Outputs of the queries of all rounds, in one pass over conditions, codes and queries."""
        x = torch.cat((prefix, codes, queries), 1)
        mutual = self.blocks[0].mixer.mutual
        mask = rounds_mask(prefix.shape[1], sizes, mutual).to(x.device)
        for block in self.blocks:
            x = block.behind(x, block.mixer.all_rounds(block.norm1(x), mask))
        return x[:, -queries.shape[1] :]

    def _in_turn(self, prefix, codes, queries, sizes) -> Float[Tensor, "B T E"]:
        """Outputs of the queries of all rounds, round by round as they are drawn."""
        states, piece, found = self.initial_states(len(prefix), self.alphabet.length), prefix, []
        pieces = codes.split(sizes[:-1], 1) if len(sizes) > 1 else ()
        for asked, following in zip(queries.split(sizes, 1), (*pieces, None), strict=True):
            y, states = self._round(piece, asked, states)
            found.append(y)
            piece = following
        return torch.cat(found, 1)

    def _round(self, codes, queries, states: tuple[State, ...]):
        """Outputs of the queries behind some more codes, and each layer's state behind those."""
        after, last = [], len(self.blocks) - 1
        for number, (block, state) in enumerate(zip(self.blocks, states, strict=True)):
            given = block.norm1(codes)
            if number < last:
                y, state = block.mixer(given, state)
                codes = block.behind(codes, y)
            else:  # nothing is asked of codes behind the last layer
                state = block.mixer.remembered(given, state)
            queries = block.behind(queries, block.mixer.peek(block.norm1(queries), state))
            after.append(state)
        return queries, tuple(after)

    # training -----------------------------------------------------------------------------------------------

    def training_loss(self, sequence, condition, seen, progress):
        """−log p of all rounds behind a known part, mean over the batch.

        The number of rounds is T to a random power; in half of the batches a random part is known. A share of
        the rows have random orders.
        """
        length, random = sequence.shape[1], torch.rand(3).tolist()
        known = int(random[0] * length) if random[1] < 0.5 else 0
        rounds = round_sizes(length - known, round(length ** (0.25 + 0.75 * random[2])))
        order = torch.rand(sequence.shape, device=sequence.device).argsort(1)
        if known:
            there = torch.zeros(1, length, dtype=torch.bool, device=sequence.device)
            there[:, order[0, :known]] = True
            drawn = locality_order(self.places, there, rounds, self.options.order_seed)
        else:
            drawn = self.order(rounds)
        shuffled = torch.rand(len(sequence), 1, device=sequence.device) < self.options.random_share
        order = torch.where(shuffled, order, drawn)
        sizes = [known, *rounds] if known else rounds
        found = self.log_prob(sequence, condition, seen, order, sizes).gather(1, order)
        return -found[:, known:].mean()

    # drawing ------------------------------------------------------------------------------------------------

    def rounds(self, steps: int = 0) -> int:
        return min(steps or self.options.steps, self.alphabet.length)

    def draw(self, drawing: Drawing) -> int:
        """Rows that know equally many codes go through rounds of equal sizes, whatever is beside them."""
        known, most = (drawing.codes >= 0).sum(1), 0
        for count in known.unique().tolist():
            if count < self.alphabet.length:
                rows = (known == count).nonzero()[:, 0]
                show = functools.partial(drawing.codes.index_copy_, 0, rows)
                most = max(most, self._draw(drawing.part(rows), count, show))
        return most

    def _draw(self, drawing: Drawing, known: int, show: Callable[[Tensor], Any]) -> int:
        codes, length = drawing.codes, self.alphabet.length
        sizes = round_sizes(length - known, drawing.rounds, drawing.schedule)
        order = locality_order(self.places, codes >= 0, sizes, self.options.order_seed)
        piece, positions, _ = self.conditioned(drawing.row_conditions(), drawing.rows)
        states, first = self.initial_states(drawing.rows, length), order[:, :known]
        if known:  # a round of their own, as in `log_prob`
            _, states = self.through(piece, states)
            piece = self._inputs(drawing.in_rows(codes.gather(1, first)), drawing.in_rows(first), positions)
        for round, slots in enumerate(order[:, known:].split(sizes, 1)):
            rows = drawing.in_rows(slots)
            y, states = self._round(piece, self.query + of_slots(positions, rows), states)
            noise = of_each(drawing.uniform, slots)
            drawn = drawing.drawn(self.code_head, self.outputs(y, rows), rows, round, noise)
            codes.scatter_(1, slots, drawn)
            show(codes)  # before it is told that there are more
            drawing.progress(drawn.numel())
            piece = self._inputs(drawing.in_rows(drawn), rows, positions)
        return sum(tensor.nbytes for state in states for tensor in state.tensors())
