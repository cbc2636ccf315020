"""A distribution over sequences of codes that may be drawn in any order, one code after another."""

from __future__ import annotations

import copy
import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.prior.autoregressive import Autoregressive, PriorState
from caselli.prior.base import SequencePrior
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.drawing import Drawing
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class RandomOrderOptions:
    """Options of a random-order prior."""

    anneal_from: float = 0.5
    """Share of the training up to which every sequence is learned in a random order."""
    anneal_to: float = 0.75
    """Share of the training from which only `final_share` of them are."""
    final_share: float = 0.1
    """Share of random orders at the end, so that the prior does not forget them."""
    lead: bool = False
    """True for one more learned vector in front of the label, as in the published models."""
    timed: bool = False
    """True where a learned vector of each place of the input modulates the layers, beside the label's."""

    def __post_init__(self) -> None:
        if not 0 <= self.anneal_from <= self.anneal_to <= 1 or not 0 <= self.final_share <= 1:
            raise UserError(f"{self} was given", "0 ≤ anneal_from ≤ anneal_to ≤ 1 and a share were expected")

    def share(self, progress: float) -> float:
        """Share of random orders when a share of the training is done.

        Example:
            >>> [RandomOrderOptions(final_share=0.0).share(p) for p in (0.0, 0.5, 0.625, 1.0)]
            [1.0, 1.0, 0.5, 0.0]
        """
        way = (progress - self.anneal_from) / max(self.anneal_to - self.anneal_from, 1e-9)
        return 1 - (1 - self.final_share) * min(1.0, max(0.0, way))


class RandomOrder(SequencePrior):
    r"""An autoregressive prior whose inputs name the slot to be predicted, so that it can go in any order σ.

    .. math:: \log p_\sigma(x \mid c) = \sum_i \log p(x_{\sigma_i} \mid c, x_{\sigma_{<i}}, \sigma_{\le i})

    An input is the sum of a code's embedding, that of its slot, and that of the slot to be predicted next.
    Training begins with random orders and ends with the slots as they stand, in which `log_prob` is the exact
    likelihood. Drawing takes known codes first, wherever they lie, so that drawn ones are conditioned on all.

    Arguments:
        config: the architecture; see `RandomOrderOptions`.
        alphabet: slots, codebooks and conditions.

    Source: Yu et al. 2024, Randomized Autoregressive Visual Generation.

    Example:
        >>> config = PriorConfig(kind="random_order", width=32, depth=1)
        >>> prior = RandomOrder(config, Alphabet((8,), (0,) * 4))
        >>> sequence = torch.zeros(2, 4, dtype=torch.int64)
        >>> prior.log_prob(sequence, None, order=torch.tensor([[2, 0, 1, 3]] * 2)).shape
        torch.Size([2, 4])
    """

    kind = "random_order"
    options_kind = RandomOrderOptions
    any_order = True

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        super().__init__(config, alphabet, alphabet.length)
        self.target = nn.Embedding(alphabet.length, config.width)
        nn.init.normal_(self.target.weight, std=0.02)
        width, front = config.width, self.conditioner.length + int(self.options.lead)
        self.lead = nn.Parameter(0.02 * torch.randn(2, width)) if self.options.lead else None
        inputs = front + alphabet.length - 1
        self.time = nn.Parameter(0.02 * torch.randn(inputs, width)) if self.options.timed else None
        if self.options.timed and not config.layer.modulation:
            raise UserError("timed was given without modulation", "layer.modulation was expected to be true")

    # the distribution ---------------------------------------------------------------------------------------

    def log_prob(self, sequence, condition, seen=None, order: Int[Tensor, "B T"] | None = None):
        """log p of each slot in nats, as of `Prior`.

        Arguments:
            order: an order of the slots for each sequence; by default as they stand.
        """
        if order is None:
            order = torch.arange(self.alphabet.length, device=sequence.device).expand(sequence.shape)
        logits = self.logits((sequence if seen is None else seen).gather(1, order), condition, order)
        found = self.code_head.log_prob(logits, sequence.gather(1, order), order)
        return torch.zeros_like(found).scatter(1, order, found)

    def logits(
        self, ordered: Int[Tensor, "B T"], condition, order: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T F"]:
        """Parameters of the head's distribution of each slot of the order, from the codes in that order."""
        return self._begin(ordered[:, :-1], condition, order, None)[0]

    def logits_at(self, slot, sequence, condition):
        slots = torch.arange(sequence.shape[1], device=sequence.device)
        last = torch.cat((slots[slots != slot], slots[slot : slot + 1])).expand(sequence.shape)
        return self.logits(sequence.gather(1, last), condition, last)[:, -1]

    def start(self, ordered: Int[Tensor, "B N"], condition, order: Int[Tensor, "B T"]):
        """Logits of the slot behind N < T known codes, and a state with capacity for a whole sequence."""
        layers = self.initial_states(len(order), self.alphabet.length - 1)
        logits, *rest = self._begin(ordered, condition, order, layers)
        layers, targets, modulating = rest
        return logits[:, -1], PriorState(layers, ordered.shape[1] + 1, targets, modulating)

    def step(self, codes: Int[Tensor, "B"], order: Int[Tensor, "B T"], state: PriorState):
        """Logits of the next slot of the order, given the codes of the slot at `state.length − 1` in it."""
        given, target = order[:, state.length - 1 : state.length], order[:, state.length : state.length + 1]
        x = self._inputs(codes[:, None], given, target, state.positions)
        place = state.length + self._front - 1
        y, layers = self.through(x, state.layers, self._timed(state.modulating, place, 1))
        after = dataclasses.replace(state, layers=layers, length=state.length + 1)
        return self.outputs(y, target)[:, 0], after

    def _begin(self, ordered, condition, order, layers):
        prefix, targets, modulating = self.conditioned(condition, len(order))
        seen = ordered.shape[1]
        first = prefix[:, :1] + of_slots(targets, order[:, :1])
        inputs = self._inputs(ordered, order[:, :seen], order[:, 1 : seen + 1], targets)
        front = [] if self.lead is None else [self.lead.sum(0).expand(len(order), 1, -1)]
        x = torch.cat((*front, first, prefix[:, 1:], inputs), 1)
        y, layers = self.through(x, layers, self._timed(modulating, 0, x.shape[1]))
        logits = self.outputs(y[:, -1 - seen :], order[:, : seen + 1])
        return logits, layers, targets, modulating

    @property
    def _front(self) -> int:
        """Number of vectors in front of the sequence."""
        return self.conditioner.length + int(self.options.lead)

    def initial_states(self, batch, length):
        return super().initial_states(batch, length + int(self.options.lead))

    def _timed(self, modulating, first: int, count: int) -> Float[Tensor, "B T E"] | None:
        """Vectors that modulate `count` inputs from `first` on."""
        return modulating if self.time is None else modulating + self.time[first : first + count]

    def positions(self, condition, batch):
        """Embeddings of the slots as targets, with those of the other picture's codes at their places."""
        return self.placed(self.target.weight, condition, batch)

    def _inputs(self, codes, given, target, targets) -> Float[Tensor, "B N E"]:
        return self.code(codes + self.offset[given]) + self.position(given) + of_slots(targets, target)

    @torch.no_grad()
    def straight(self) -> Autoregressive | None:
        """This prior over the slots as they stand, as an autoregressive one with a copy of the weights; None
        where it has a vector in front that an autoregressive one has not.

        Its position embedding of a slot is the sum of two of this prior's: the embedding of the slot before,
        whose code is the input, and that of the slot as the target.
        """
        if self.options.lead or self.options.timed:
            return None
        layer = dataclasses.replace(self.config.layer, positions="learned")
        config = dataclasses.replace(self.config, kind=Autoregressive.kind, prior_options={}, layer=layer)
        before = torch.cat((torch.zeros_like(self.position.weight[:1]), self.position.weight[:-1]))
        weights = {name: x for name, x in self.state_dict().items() if not name.startswith("target.")}
        weights["position.weight"] = self.target.weight + before
        twin = Autoregressive(config, self.alphabet)
        # pruned ones are narrower than configured
        twin.blocks, twin.conditioner = copy.deepcopy((self.blocks, self.conditioner))
        twin.to(self.head.weight).load_state_dict(weights)
        return twin.train(self.training)

    # training -----------------------------------------------------------------------------------------------

    def training_loss(self, sequence, condition, seen, progress):
        """−log p in the order of each row: a random one in a share of them that shrinks."""
        order = torch.rand(sequence.shape, device=sequence.device).argsort(1)
        random = torch.rand(len(sequence), 1, device=sequence.device) < self.options.share(progress)
        order = torch.where(random, order, torch.arange(sequence.shape[1], device=sequence.device))
        return -self.log_prob(sequence, condition, seen, order).mean()

    # drawing ------------------------------------------------------------------------------------------------

    def draw(self, drawing: Drawing) -> int:
        codes = drawing.codes
        order = (codes < 0).long().argsort(dim=1, stable=True)  # known codes come first
        first = int((codes >= 0).sum(1).min())
        known, rows = drawing.in_rows(codes.gather(1, order[:, :first])), drawing.in_rows(order)
        logits, state = self.start(known, drawing.row_conditions(), rows)
        for number in range(first, codes.shape[1]):
            slot = order[:, number : number + 1]
            own, noise = drawing.in_rows(slot[:, 0]), of_each(drawing.uniform, slot[:, 0])
            drawn = drawing.drawn(self.code_head, logits, own, number, noise)[:, None]
            there = codes.gather(1, slot)
            now = torch.where(there < 0, drawn, there)
            codes.scatter_(1, slot, now)
            drawing.progress(len(codes))
            if number + 1 < codes.shape[1]:
                logits, state = self.step(drawing.in_rows(now[:, 0]), rows, state)
        return sum(tensor.nbytes for tensor in state.carried())


def of_each(x: Tensor, slots: Int[Tensor, "B ..."]) -> Tensor:
    """Entries of each row of x at its own slots.

    Example:
        >>> of_each(torch.tensor([[1, 2], [3, 4]]), torch.tensor([1, 0])).tolist()
        [2, 3]
    """
    rows = torch.arange(len(x), device=x.device).view(-1, *[1] * (slots.dim() - 1))
    return x[rows, slots]


def of_slots(x: Float[Tensor, "*B T E"], slots: Int[Tensor, "B N"]) -> Float[Tensor, "B N E"]:
    """Rows of x by slot, x shared by all sequences or of each.

    Example:
        >>> of_slots(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[1, 0], [0, 0]])).flatten()
        tensor([2., 1., 1., 1.])
    """
    if len(x) == 1:
        return F.embedding(slots, x[0])
    return x.gather(1, slots[..., None].expand(-1, -1, x.shape[2]))
