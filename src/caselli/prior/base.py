"""The contract of every prior: a distribution over sequences of codes, however it takes them apart."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from caselli.errors import UserError
from caselli.mixer import Mixer, State
from caselli.prior.block import Block, build_mixers
from caselli.prior.bracket import Bracket
from caselli.prior.caption_tokens import CaptionTokens
from caselli.prior.conditions import Conditioner, Conditions
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.drawing import Drawing
from caselli.prior.head import Head, Slots
from caselli.prior.heads import build_head
from caselli.prior.layer import Entrance, FinalModulation, NoFinalModulation, NoPositions
from caselli.shapes import Bool, Float, Int, Tensor
from caselli.weights import fingerprint

if TYPE_CHECKING:
    from caselli.prior.autoregressive import Autoregressive

MOST_LISTED = 1 << 16
"""Codes of a slot whose probabilities are listed, at most."""


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The record of a kind that has no options of its own."""


class Prior(nn.Module, ABC):
    """A distribution over sequences `B T` of codes, given a condition.

    A kind extends this class, is final, has its line in `caselli.prior.PRIORS`, gives `log_prob` and `draw`,
    and sets `conditioner`, `blocks` and `head`. Its own options stand in a record, filled from
    `config.prior_options`. Its class variables say what it can do, so that nobody asks which kind it is.

    Arguments:
        config: the architecture; its `kind` is this class's name in the table.
        alphabet: slots, codebooks and labels.

    Errors: `UserError` where the configuration is of another kind.
    """

    kind: ClassVar[str]
    """Name in `PRIORS`."""
    options_kind: ClassVar[type] = NoOptions
    """The record of this kind's own options; filled, it is `options`."""
    sampling_options: ClassVar[tuple[str, ...]] = ()
    """Fields of `caselli.sampling.Sampling` that only some kinds follow, and this one does."""
    exact: ClassVar[bool] = True
    """True where `log_prob` is the likelihood; else its sum over a sequence is a lower bound."""
    any_order: ClassVar[bool] = False
    """True where a drawn code is conditioned on all known ones, wherever they lie."""
    needs_quantizer: ClassVar[bool] = False
    """True where the constructor takes the quantizer of the codes too."""
    conditioner: Conditioner | CaptionTokens
    """Turns conditions into vectors."""
    blocks: nn.ModuleList
    """The layers; the linear ones in them are Muon's, and what slimming works on."""
    head: nn.Linear
    """Gives what `code_head` takes: with softmax the logits over the entries of all codebooks joined."""
    code_head: Head
    """The distribution of a code, given the output of `head`."""

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        super().__init__()
        if config.kind != self.kind:
            raise UserError(
                f"prior kind {config.kind!r} was given to {type(self).__name__}",
                f"{self.kind!r} was expected",
                "build a prior of any kind with caselli.prior.build",
            )
        self.config, self.alphabet = config, alphabet
        self.options = config.options(self.options_kind)
        self.register_buffer("offset", torch.tensor(alphabet.offsets), persistent=False)
        self.code_head = build_head(config, alphabet)

    @abstractmethod
    def log_prob(
        self,
        sequence: Int[Tensor, "B T"],
        condition: Conditions | Int[Tensor, "B"] | None,
        seen: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T"]:
        """Each slot's share of log p(sequence | condition) in nats, or of its lower bound where the prior is
        not `exact`.

        Arguments:
            sequence: codes to be predicted.
            condition: a label for each sequence is short for `Conditions` with labels alone, None for none.
            seen: codes to predict from, where they differ from `sequence`, as when some are corrupted in
                training.
        """

    @abstractmethod
    def draw(self, drawing: Drawing) -> int:
        """Fills the codes of a batch that are not known.

        Returns: bytes of the state that was carried to the last round.
        """

    def bracket(
        self, sequence: Int[Tensor, "B T"], condition: Conditions | Int[Tensor, "B"] | None, orders: int = 8
    ) -> Bracket:
        """Bounds of log p(sequence | condition) from below and above: both the same where the prior is exact.

        Arguments:
            sequence, condition: see `log_prob`.
            orders: orders of drawing, at least 3, that the bounds of another prior are estimated by.
        """
        found = self.log_prob(sequence, condition).sum(1)
        return Bracket(found, found)

    def logits_at(
        self, slot: int, sequence: Int[Tensor, "B T"], condition: Conditions | Int[Tensor, "B"] | None
    ) -> Float[Tensor, "B F"]:
        """Parameters of the head's distribution of one slot, given the codes that the prior sees there; see
        `log_probs_at`."""
        return self.logits(sequence, condition)[:, slot]

    @torch.no_grad()
    def log_probs_at(
        self, slot: int, sequence: Int[Tensor, "B T"], condition: Conditions | Int[Tensor, "B"] | None
    ) -> Float[Tensor, "B K"]:
        r"""Log-probabilities of all codes that one slot could have, in nats.

        .. math:: \log p(x_t = k \mid c, x_{\text{seen}})

        A prior of any order sees all other codes, another one those before the slot. The slot's own code does
        not matter.

        Arguments:
            slot: 0 … T − 1.
            sequence: the codes around it.
            condition: as of `log_prob`.

        Errors: `UserError` for more than 65,536 codes.
        """
        size = self.alphabet.slot_sizes[slot]
        if size > MOST_LISTED:
            raise UserError(f"a slot of {size:,} codes was given", f"at most {MOST_LISTED:,} can be listed")
        return self.code_head.every_log_prob(self.logits_at(slot, sequence, condition), slot, size)

    def straight(self) -> Autoregressive | None:
        """An autoregressive prior of this distribution over the slots as they stand: itself where it is one,
        None for a kind that has no such form."""
        return None

    def training_loss(
        self,
        sequence: Int[Tensor, "B T"],
        condition: Conditions | Int[Tensor, "B"] | None,
        seen: Int[Tensor, "B T"],
        progress: float,
    ) -> Float[Tensor, ""]:
        """The training objective, nats a code: here −log p.

        Arguments:
            sequence, condition, seen: see `log_prob`.
            progress: share of the budget that is spent, 0 to 1.
        """
        return -self.log_prob(sequence, condition, seen).mean()

    def validation_loss(
        self, sequence: Int[Tensor, "B T"], condition: Conditions | Int[Tensor, "B"] | None
    ) -> Float[Tensor, ""]:
        """Nats a code on held-out sequences: the mean of −`log_prob`, or an estimate that costs less."""
        return -self.log_prob(sequence, condition).mean()

    def rounds(self, steps: int = 0) -> int:
        """Number of times that `draw` goes through the layers; guidance has a strength for each.

        Arguments:
            steps: number asked for, which only a kind with `steps` among its `sampling_options` follows; 0
                for its own.
        """
        return self.alphabet.length

    @property
    def sees_all_known(self) -> bool:
        """True where known codes count wherever they lie, also behind the code that is drawn."""
        return self.any_order or self.config.condition_picture == "visible_part"

    def with_known(self, conditions: Conditions, codes: Int[Tensor, "B *grid"]) -> Conditions:
        """The conditions, with the known codes of each picture for a prior that is conditioned on the visible
        part; −1 where a code is not known."""
        if self.config.condition_picture != "visible_part":
            return conditions
        return dataclasses.replace(conditions, codes=codes.flatten(1))

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Weights that Muon may train: those of linear layers whose inputs and outputs are hidden."""
        layers = [m.weight for m in self.blocks.modules() if isinstance(m, nn.Linear)]
        return [w for w in (*layers, *self.conditioner.hidden_matrices()) if w.requires_grad]

    def fingerprint(self) -> str:
        """16 hex digits that change with any weight."""
        return fingerprint(self.state_dict())

    def weight_bytes(self) -> int:
        """Bytes of the weights that a round reads: all but the embeddings'."""
        modules = [m for m in self.modules() if not isinstance(m, nn.Embedding)]
        return sum(p.nbytes for module in modules for p in module.parameters(recurse=False))

    def prefix(self, condition: Conditions | Int[Tensor, "B"] | None, batch: int) -> Float[Tensor, "B P E"]:
        """The conditions as P ≥ 1 vectors in front of the sequence."""
        return self.conditioner(Conditions.of(condition), batch)


class SequencePrior(Prior):
    """A prior whose network is a stack of blocks over a sequence of vectors.

    Arguments:
        config, alphabet: see `Prior`.
        positions: number of learned positions.
    """

    causal: ClassVar[bool] = True
    """True where a vector sees only those before it."""
    sees_from_start: ClassVar[bool] = False
    """True where what stands in front of the conditions can be hidden from all behind it."""
    embeds_codes: ClassVar[bool] = True
    """True where codes become vectors by an embedding."""

    def __init__(self, config: PriorConfig, alphabet: Alphabet, positions: int) -> None:
        super().__init__(config, alphabet)
        width = config.width
        self.code = self.code_head.embedding(alphabet, width) if self.embeds_codes else None
        self.conditioner = self._conditioner(config, alphabet)
        layer = config.layer
        learns = layer.positions == "learned"
        self.position = (nn.Embedding if learns else NoPositions)(positions, width)
        places = self.conditioner.length
        self.front = nn.Parameter(0.02 * torch.randn(places, width)) if layer.front else None
        self.entrance = Entrance(width, layer) if layer.entrance else nn.Identity()
        blocks = (Block(mixer, config.expansion, config.dropout, layer) for mixer in self.mixers())
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.Identity() if layer.modulation else layer.final(width)
        self.modulation = FinalModulation(width, layer) if layer.modulation else NoFinalModulation()
        self.head = nn.Linear(width, self.code_head.features, bias=layer.head_bias)
        if self.code is not None:
            nn.init.normal_(self.code.weight, std=0.02)
        self.conditioner.start()
        if learns:
            nn.init.normal_(self.position.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)
        for block in self.blocks:  # a deep stack begins near the identity
            if block.down is not None:
                nn.init.normal_(block.down.weight, std=0.02 / (2 * len(self.blocks)) ** 0.5)

    def _conditioner(self, config: PriorConfig, alphabet: Alphabet) -> Conditioner | CaptionTokens:
        if config.text_form == "summary":
            return Conditioner(config, alphabet)
        if not self.sees_from_start:
            raise UserError(
                f"text_form tokens was given to a prior of kind {self.kind}",
                "an autoregressive prior was expected",
                "take text_form summary",
            )
        return CaptionTokens(config, alphabet)

    def prefix(self, condition, batch):
        vectors = super().prefix(condition, batch)
        return vectors if self.front is None else vectors + self.front

    def positions(
        self, condition: Conditions | Int[Tensor, "B"] | None, batch: int
    ) -> Float[Tensor, "*B T E"]:
        """Position embeddings of the slots, with those of the other picture's codes at their places."""
        return self.placed(self.position.weight, condition, batch)

    def placed(self, positions: Float[Tensor, "T E"], condition, batch: int) -> Float[Tensor, "*B T E"]:
        """Vectors of the slots, with embeddings of the other picture's codes at their places; B is 1 without
        another picture."""
        there = self.conditioner.at_places(Conditions.of(condition), batch)
        return positions[None] if there is None else positions + there

    def conditioned(
        self, condition: Conditions | Int[Tensor, "B"] | None, batch: int
    ) -> tuple[Float[Tensor, "B P E"], Float[Tensor, "*B T E"], Float[Tensor, "B 1 E"] | None]:
        """`prefix`, `positions` and `modulating`."""
        vectors = self.prefix(condition, batch), self.positions(condition, batch)
        return *vectors, self.modulating(condition, batch)

    def mixers(self) -> list[Mixer]:
        """The mixer of each layer."""
        config = self.config
        return build_mixers(
            config.mixers(), config.depth, config.width, config.mixer_options, causal=self.causal
        )

    def initial_states(self, batch: int, length: int) -> tuple[State, ...]:
        """Each layer's state before the first vector, with capacity for the conditions and `length` more."""
        capacity = self.conditioner.length + length
        return tuple(block.mixer.initial_state(batch, capacity=capacity) for block in self.blocks)

    def modulating(
        self, condition: Conditions | Int[Tensor, "B"] | None, batch: int
    ) -> Float[Tensor, "B 1 E"] | None:
        """The label's vector, where it modulates the layers."""
        if not self.config.layer.modulation:
            return None
        return self.conditioner.label_vector(Conditions.of(condition), batch)

    def through(
        self,
        x: Float[Tensor, "B T E"],
        states: tuple[State, ...] | None = None,
        modulating: Float[Tensor, "B T E"] | None = None,
        starts: Bool[Tensor, "B T"] | None = None,
    ) -> tuple[Float[Tensor, "B T E"], tuple[State, ...]]:
        """The outputs of the blocks, normalised where they are modulated, and each layer's state behind x;
        see `Mixer` for `starts`."""
        x, after = self.entrance(x), []
        for number, block in enumerate(self.blocks):
            x, state = block(x, None if states is None else states[number], starts, modulating)
            after.append(state)
        return self.modulation(x, modulating), tuple(after)

    def outputs(self, y: Float[Tensor, "B T E"], slots: Slots) -> Float[Tensor, "B T F"]:
        """Parameters of the head's distributions of slots, from the layers' outputs there: with softmax
        logits over the entries of all codebooks joined, −∞ where a slot does not have an entry."""
        return self.code_head.outputs(self.head(self.norm(y)), slots)
