"""A distribution over the codes of several codebooks, all codebooks of a step at once."""

from __future__ import annotations

import dataclasses

import torch

from caselli.errors import UserError
from caselli.prior.autoregressive import PriorState
from caselli.prior.base import SequencePrior
from caselli.prior.conditions import Conditions
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.drawing import Drawing
from caselli.shapes import Bool, Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class ParallelOptions:
    """Options of a prior of parallel heads."""

    delay: int = 1
    """Steps by which each codebook runs behind the one before; 0 draws all codes of a position at once."""

    def __post_init__(self) -> None:
        if self.delay < 0:
            raise UserError(f"delay {self.delay} was given", "at least 0 was expected")


class ParallelHeads(SequencePrior):
    r"""Parallel heads: one step of the network draws a code of every codebook at once.

    .. math::
        \log p(x \mid c) = \sum_s \sum_q \log p(x_{s - q\,\mathrm{delay},\, q} \mid c, \text{earlier steps})

    Codebook q runs q · `delay` steps behind the first, so that with a delay the finer codes of a position see
    its coarser ones. A step's input is the sum of the embeddings of the codes of the step before. The codes
    of one step are independent of each other given those before; H·W + delay · (Q − 1) steps draw H·W·Q
    codes.

    Arguments:
        config: the architecture; see `ParallelOptions`.
        alphabet: slots, codebooks and conditions; slots of one codebook go through the positions alike.

    Source: Copet et al. 2023, Simple and Controllable Music Generation.

    Example:
        >>> alphabet = Alphabet((8, 8), (0, 1) * 3)
        >>> prior = ParallelHeads(PriorConfig(kind="parallel", width=32, depth=1), alphabet)
        >>> prior.rounds(), prior.log_prob(torch.zeros(2, 6, dtype=torch.int64), None).shape
        (4, torch.Size([2, 6]))
    """

    kind = "parallel"
    options_kind = ParallelOptions

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        self.steps = step_of_slots(alphabet, config.options(ParallelOptions).delay)
        super().__init__(config, alphabet, 1 + max(self.steps))
        table = torch.full((1 + max(self.steps), len(alphabet.sizes)), -1)
        table[torch.tensor(self.steps), torch.tensor(alphabet.codebooks)] = torch.arange(alphabet.length)
        self.register_buffer("slots", table, persistent=False)

    # the distribution ---------------------------------------------------------------------------------------

    def log_prob(self, sequence, condition, seen=None):
        logits = self.logits(sequence if seen is None else seen, condition)
        return self.code_head.log_prob(logits, sequence, slice(None))

    def logits(self, sequence, condition) -> Float[Tensor, "B T F"]:
        """Parameters of the head's distribution of every slot, see `SequencePrior.outputs`."""
        y, *_ = self._begin(sequence, condition, len(self.slots) - 1, None)
        return self.outputs(y[:, list(self.steps)], slice(None))

    def start(self, condition, batch: int, codes: Int[Tensor, "B T"], steps: int):
        """Output vector for the step behind `steps` known ones, and a state with capacity for all."""
        layers = self.initial_states(batch, len(self.slots) - 1)
        y, layers, positions, modulating = self._begin(codes, condition, steps, layers)
        return y[:, -1:], PriorState(layers, steps + 1, positions, modulating)

    def step(self, codes: Int[Tensor, "B T"], state: PriorState):
        """Output vector for the next step, given the codes of step `state.length − 1`; and the state."""
        inputs = self._inputs(codes, slice(state.length - 1, state.length))
        x = inputs + state.positions[:, state.length, None]
        y, layers = self.through(x, state.layers, state.modulating)
        return y, dataclasses.replace(state, layers=layers, length=state.length + 1)

    def _begin(self, codes, condition, steps, layers):
        prefix, positions, modulating = self.conditioned(condition, len(codes))
        inputs = self._inputs(codes, slice(0, steps)) + positions[:, 1 : steps + 1]
        x = torch.cat((prefix[:, :1] + positions[:, :1], prefix[:, 1:], inputs), 1)
        y, layers = self.through(x, layers, modulating)
        return y[:, prefix.shape[1] - 1 :], layers, positions, modulating

    def positions(self, condition, batch):
        """Position embeddings of the steps, with those of the other picture's codes at a step's places."""
        there = self.conditioner.at_places(Conditions.of(condition), batch)
        if there is None:
            return self.position.weight[None]
        of_steps = there[:, self.slots.clamp_min(0)] * (self.slots >= 0)[..., None]
        return self.position.weight + of_steps.sum(2)

    def _inputs(self, codes, steps: slice) -> Float[Tensor, "B S E"]:
        """Sum of the embeddings of the codes of each step."""
        slots = self.slots[steps]
        there = slots >= 0
        entries = (codes + self.offset)[:, slots.clamp_min(0)]
        return (self.code(torch.where(there, entries, 0)) * there[..., None]).sum(2)

    # drawing ------------------------------------------------------------------------------------------------

    def rounds(self, steps: int = 0) -> int:
        return len(self.slots)

    def draw(self, drawing: Drawing) -> int:
        first = self._known_steps(drawing.codes >= 0)
        y, state = self.start(drawing.row_conditions(), drawing.rows, drawing.in_rows(drawing.codes), first)
        for step in range(first, len(self.slots)):
            slots = self.slots[step][self.slots[step] >= 0]
            logits, noise = self.outputs(y.expand(-1, len(slots), -1), slots), drawing.uniform[:, slots]
            drawing.fill(slots, drawing.drawn(self.code_head, logits, slots, step, noise))
            if step + 1 < len(self.slots):
                y, state = self.step(drawing.in_rows(drawing.codes), state)
        return sum(tensor.nbytes for tensor in state.carried())

    def _known_steps(self, known: Bool[Tensor, "B T"]) -> int:
        """Number of leading steps whose codes are known in every sequence."""
        there = known.all(0)[self.slots.clamp_min(0)] | (self.slots < 0)
        return int(there.all(1).cumprod(0).sum())


def step_of_slots(alphabet: Alphabet, delay: int) -> tuple[int, ...]:
    """The step of each slot: its place among the slots of its codebook, and the codebook's delay.

    Example:
        >>> step_of_slots(Alphabet((8, 8), (0, 1) * 3), delay=1)
        (0, 1, 1, 2, 2, 3)
    """
    seen = [0] * len(alphabet.sizes)
    steps = []
    for codebook in alphabet.codebooks:
        steps.append(seen[codebook] + delay * codebook)
        seen[codebook] += 1
    return tuple(steps)
