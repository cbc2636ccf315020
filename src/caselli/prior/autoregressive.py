"""A distribution over sequences of codes, one code after another."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F

from caselli.mixer import State
from caselli.prior.base import SequencePrior
from caselli.prior.conditions import Conditions
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.drawing import Drawing
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class PriorState(State):
    """The state behind some slots: each layer's, the number of slots whose logits have been computed, the
    position embeddings of all slots, and the vector that modulates the layers, if any does."""

    layers: tuple[State, ...]
    length: int
    positions: Float[Tensor, "*B T E"]
    modulating: Float[Tensor, "B 1 E"] | None = None

    def carried(self) -> list[Tensor]:
        """The tensors that go from step to step; positions and modulation stay as they are."""
        return [tensor for layer in self.layers for tensor in layer.tensors()]


class Autoregressive(SequencePrior):
    r"""An autoregressive prior over any mixers.

    .. math:: \log p(x \mid c) = \sum_t \log p(x_t \mid c, x_{<t})

    The conditions are the first P inputs, see `Conditioner`. The first slot's logits are read at the last of
    them, each further slot's at the code before it.

    Arguments:
        config: the architecture.
        alphabet: slots, codebooks and conditions.

    Example:
        >>> prior = Autoregressive(PriorConfig(width=32, depth=1), Alphabet((8,), (0,) * 4, classes=3))
        >>> prior.log_prob(torch.zeros(2, 4, dtype=torch.int64), torch.tensor([0, 2])).shape
        torch.Size([2, 4])
    """

    kind = "autoregressive"
    sees_from_start = True

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        super().__init__(config, alphabet, alphabet.length)

    # the distribution ---------------------------------------------------------------------------------------

    def log_prob(
        self,
        sequence: Int[Tensor, "B T"],
        condition: Conditions | Int[Tensor, "B"] | None,
        seen: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T"]:
        """log p(x_t | condition, x_<t) in nats; arguments see `Prior.log_prob`."""
        logits = self.logits(sequence if seen is None else seen, condition)
        return self.code_head.log_prob(logits, sequence, slice(None))

    def logits(
        self, sequence: Int[Tensor, "B T"], condition: Conditions | Int[Tensor, "B"] | None
    ) -> Float[Tensor, "B T F"]:
        """Parameters of the head's distribution of every slot, see `SequencePrior.outputs`."""
        return self._begin(condition, len(sequence), sequence[:, :-1], None)[0]

    def start(
        self,
        condition: Conditions | Int[Tensor, "B"] | None,
        batch: int,
        known: Int[Tensor, "B N"] | None = None,
    ) -> tuple[Float[Tensor, "B F"], PriorState]:
        """Logits of the first slot, or of the first behind N < T known codes, which go through the layers at
        once; and a state with capacity for a whole sequence."""
        layers = self.initial_states(batch, self.alphabet.length - 1)
        if known is None:
            known = self.offset.new_empty(batch, 0)
        logits, state = self._begin(condition, batch, known, layers)
        return logits[:, -1], state

    def step(self, codes: Int[Tensor, "B"], state: PriorState) -> tuple[Float[Tensor, "B F"], PriorState]:
        """Logits of the next slot, given the codes of slot `state.length − 1`; and the state behind them."""
        logits, state = self.extend(codes[:, None], state)
        return logits[:, 0], state

    def extend(
        self, codes: Int[Tensor, "B N"], state: PriorState
    ) -> tuple[Float[Tensor, "B N F"], PriorState]:
        """Logits of the next N slots, given the codes from slot `state.length − 1` on; and the state."""
        slot, end = state.length, state.length + codes.shape[1]
        x = self.code(codes + self.offset[slot - 1 : end - 1]) + state.positions[:, slot:end]
        y, layers = self.through(x, state.layers, state.modulating)
        return self._logits(y, slot), dataclasses.replace(state, layers=layers, length=end)

    def cut(self, before: PriorState, after: PriorState, codes: Int[Tensor, "B N"]) -> PriorState:
        """The state behind the first N codes of those that led from one state to another.

        Mixers that can leave out their last tokens do; where one cannot, all go through the codes again.
        """
        pairs = zip(self.blocks, before.layers, after.layers, strict=True)
        layers = tuple(block.mixer.cut(one, other, codes.shape[1]) for block, one, other in pairs)
        if None in layers:
            return self.extend(codes, before)[1]
        return dataclasses.replace(before, layers=layers, length=before.length + codes.shape[1])

    def _begin(self, condition, batch, codes, layers):
        """Logits of the slots up to the one behind the codes, and the state there."""
        prefix = self.prefix(condition, batch)
        seen = codes.shape[1]
        positions = self.positions(condition, batch)
        inputs = self.code(codes + self.offset[:seen]) + positions[:, 1 : seen + 1]
        x = torch.cat((prefix[:, :1] + positions[:, :1], prefix[:, 1:], inputs), 1)
        modulating = self.modulating(condition, batch)
        starts = self.conditioner.starts(Conditions.of(condition), batch)
        if starts is not None:
            starts = F.pad(starts, (0, seen))
        y, layers = self.through(x, layers, modulating, starts)
        return self._logits(y[:, -1 - seen :], 0), PriorState(layers, seen + 1, positions, modulating)

    def _logits(self, y, slot):
        """Logits of the slots from `slot` on, from the layers' outputs there."""
        return self.outputs(y, slice(slot, slot + y.shape[1]))

    # drawing ------------------------------------------------------------------------------------------------

    def draw(self, drawing: Drawing) -> int:
        logits, state = self.start(*drawing.start())
        for slot in range(drawing.first, self.alphabet.length):
            drawing.fill(slot, drawing.drawn(self.code_head, logits, slot, slot, drawing.uniform[:, slot]))
            if slot + 1 < self.alphabet.length:
                logits, state = self.step(drawing.in_rows(drawing.codes[:, slot]), state)
        return sum(tensor.nbytes for tensor in state.carried())

    def straight(self) -> Autoregressive:
        return self

    # files --------------------------------------------------------------------------------------------------

    def _load_from_state_dict(self, state_dict, prefix, *rest):
        """Runs from before captions have the labels' embedding at the prior itself."""
        old = prefix + "label.weight"
        if old in state_dict:
            state_dict[f"{prefix}conditioner.label.weight"] = state_dict.pop(old)
        super()._load_from_state_dict(state_dict, prefix, *rest)
