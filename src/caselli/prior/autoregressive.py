"""A distribution over sequences of codes, one code after another."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from caselli.mixer import State
from caselli.prior.block import Block, build_mixers
from caselli.prior.config import Alphabet, PriorConfig
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class PriorState(State):
    """Each layer's state; the number of inputs taken so far."""

    layers: tuple[State, ...]
    length: int


class Autoregressive(nn.Module):
    r"""An autoregressive prior over any mixers.

    .. math:: \log p(x \mid c) = \sum_t \log p(x_t \mid c, x_{<t})

    The condition is the first input; slot t's code is read from the output at input t. Labels have a null
    label beside them, for sequences of any label and for guidance.

    Arguments:
        config: the architecture.
        alphabet: slots, codebooks and labels.

    Example:
        >>> prior = Autoregressive(PriorConfig(width=32, depth=1), Alphabet((8,), (0,) * 4, classes=3))
        >>> prior.log_prob(torch.zeros(2, 4, dtype=torch.int64), torch.tensor([0, 2])).shape
        torch.Size([2, 4])
    """

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        super().__init__()
        self.config, self.alphabet = config, alphabet
        width = config.width
        self.code = nn.Embedding(sum(alphabet.sizes), width)
        self.label = nn.Embedding(alphabet.classes + 1, width)
        self.position = nn.Embedding(alphabet.length, width)
        mixers = build_mixers(config.mixers(), config.depth, width, config.mixer_options)
        self.blocks = nn.ModuleList(Block(m, config.expansion, config.dropout) for m in mixers)
        self.norm = nn.LayerNorm(width, bias=False)
        self.head = nn.Linear(width, sum(alphabet.sizes), bias=False)
        self._slots()
        self._start()

    def _slots(self) -> None:
        sizes, codebooks = self.alphabet.sizes, torch.tensor(self.alphabet.codebooks)
        firsts = torch.tensor([sum(sizes[:q]) for q in range(len(sizes))])
        self.register_buffer("offset", firsts[codebooks], persistent=False)
        entries = torch.arange(sum(sizes))
        first, size = firsts[codebooks, None], torch.tensor(sizes)[codebooks, None]
        self.register_buffer("allowed", (entries >= first) & (entries < first + size), persistent=False)

    def _start(self) -> None:
        for embedding in (self.code, self.label, self.position):
            nn.init.normal_(embedding.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)
        for block in self.blocks:  # a deep stack begins near the identity
            nn.init.normal_(block.down.weight, std=0.02 / (2 * len(self.blocks)) ** 0.5)

    # the distribution ---------------------------------------------------------------------------------------

    def log_prob(
        self,
        sequence: Int[Tensor, "B T"],
        condition: Int[Tensor, "B"] | None,
        seen: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T"]:
        """log p(x_t | condition, x_<t) in nats; a condition of None is the null label.

        `seen` are the codes that the prior sees in place of x_<t, as when some are corrupted in training.
        """
        logits = self.logits(sequence if seen is None else seen, condition)
        nats = F.cross_entropy(logits.flatten(0, 1), (sequence + self.offset).flatten(), reduction="none")
        return -nats.view(sequence.shape)

    def logits(
        self, sequence: Int[Tensor, "B T"], condition: Int[Tensor, "B"] | None
    ) -> Float[Tensor, "B T K"]:
        """Unnormalised log-probabilities of every slot, over the entries of all codebooks joined."""
        first = self._condition(condition, len(sequence))
        x = torch.cat((first[:, None], self.code(sequence[:, :-1] + self.offset[:-1])), 1)
        return self._through(x, None, 0)[0]

    def start(
        self,
        condition: Int[Tensor, "B"] | None,
        batch: int,
        known: Int[Tensor, "B P"] | None = None,
    ) -> tuple[Float[Tensor, "B K"], PriorState]:
        """The logits of the first slot, or of the first behind P < T known codes, which are taken in at once;
        and a state with room for a whole sequence."""
        layers = tuple(b.mixer.initial_state(batch, capacity=self.alphabet.length) for b in self.blocks)
        x = self._condition(condition, batch)[:, None]
        if known is not None and known.shape[1]:
            x = torch.cat((x, self.code(known + self.offset[: known.shape[1]])), 1)
        logits, state = self._through(x, layers, 0)
        return logits[:, -1], state

    def step(self, codes: Int[Tensor, "B"], state: PriorState) -> tuple[Float[Tensor, "B K"], PriorState]:
        """Takes the codes of slot `state.length − 1`; gives the next slot's logits."""
        slot = state.length
        logits, state = self._through(self.code(codes + self.offset[slot - 1])[:, None], state.layers, slot)
        return logits[:, 0], state

    def _condition(self, condition: Tensor | None, batch: int) -> Tensor:
        if condition is None:
            condition = self.label.weight.new_full((batch,), self.alphabet.classes, dtype=torch.int64)
        return self.label(condition)

    def _through(self, x, layers, slot):
        end = slot + x.shape[1]
        x = x + self.position.weight[slot:end]
        states = []
        for number, block in enumerate(self.blocks):
            x, state = block(x, None if layers is None else layers[number])
            states.append(state)
        logits = self.head(self.norm(x)).float()
        if len(self.alphabet.sizes) > 1:
            logits = logits.masked_fill(~self.allowed[slot:end], -torch.inf)
        return logits, PriorState(tuple(states), end)
