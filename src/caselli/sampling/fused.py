"""The engine that runs whole sequences in compiled code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from caselli.prior import OWN_LAYER, Prior, PriorState
from caselli.sampling.base import Engine, Unavailable, expect_served
from caselli.sampling.compile import library
from caselli.sampling.drawing import SeededDrawing
from caselli.sampling.lower import LOWERINGS, is_lowered
from caselli.sampling.program import DRAW, EMBED, GELU, SQUARED_RELU, Panels, Program
from caselli.sampling.rounding import rounded
from caselli.shapes import Float, Int, Tensor

ACTIVATIONS = {"gelu": GELU, "squared_relu": SQUARED_RELU}
"""Operations for activations of the layers' MLP."""
_PIECE = 16
"""Slots between two reports of progress, behind the first."""


class FusedEngine(Engine):
    """Layers, guidance and drawing as one list of operations over preallocated buffers, slot after slot.

    No Python runs and nothing is allocated between codes; weights are packed once, in float32, bfloat16 or
    int8, and a sample does not depend on those beside it, not even in the last bit.

    Arguments:
        prior: the distribution, autoregressive, float32 on the CPU, over mixers of `LOWERINGS`.
        precision: its linear layers' weights are rounded to it, and kept and read in it.

    Errors: `Unavailable`, with the reason, for another prior, and where no compiler works.
    """

    def __init__(self, prior: Prior, precision: str = "float32") -> None:
        expect_served(self.refusal(prior))
        self.prior, self.precision = rounded(prior, precision), precision
        self.library = library()
        self.panels: dict[tuple[int, ...], Panels] = {}
        self.steps: FusedSteps | None = None

    @staticmethod
    def refusal(prior: Prior) -> str | None:
        if prior.straight() is not prior:
            return f"no fused step for a {prior.kind.replace('_', '-')} prior"
        if not prior.code_head.tabular:
            return f"no fused step for the head {prior.config.head.replace('_', '-')}"
        weight = prior.head.weight
        if weight.device.type != "cpu":
            return f"the fused step is for the CPU, the prior is on {weight.device.type}"
        if weight.dtype != torch.float32:
            return f"the fused step is for float32, the prior has {weight.dtype}"
        if prior.conditioner.padded:
            return "no fused step behind captions of many tokens"
        others = sorted({type(b.mixer).__name__ for b in prior.blocks if not is_lowered(b.mixer)})
        if others:
            return f"no fused step for {', '.join(others)}"
        layer = prior.config.layer
        if layer.activation not in ACTIVATIONS or layer != replace(OWN_LAYER, activation=layer.activation):
            return "no fused step for layers of other parts than Caselli's own"
        try:
            library()
        except Unavailable as reason:
            return str(reason)
        return None

    @property
    def name(self) -> str:
        return f"fused step, {self.precision} weights"

    def draw(self, drawing: SeededDrawing) -> None:
        steps = self.steps
        if steps is None or not steps.suits(drawing):
            self.steps = steps = None  # the old buffers go before the new ones come
            self.steps = steps = FusedSteps(self, drawing)
            steps.choose(DRAW, (steps.logits, steps.uniform), guides=drawing.guides)
        steps.begin(drawing)
        if steps.needs_start(drawing):
            steps.start(drawing)
        steps.fill(drawing)

    def bytes_per_step(self) -> int:
        return 0 if self.steps is None else self.steps.program.bytes_per_step()


class FusedSteps:
    """The program of a prior for a number of samples, up to the logits, and the buffers it reads and writes.

    Arguments:
        engine: has the prior and what is laid out of it.
        drawing: a batch of the kind that it is for.
        tokens: slots that a step takes.
        codes: those of another program, where both work on the same.
        logits: where those of the last token go; a buffer of their own unless given.
    """

    def __init__(
        self,
        engine: FusedEngine,
        drawing: SeededDrawing,
        tokens: int = 1,
        codes: Int[Tensor, "B T"] | None = None,
        logits: Float[Tensor, "R K"] | None = None,
    ) -> None:
        prior, samples, rows = engine.prior, len(drawing.codes), drawing.rows
        self.prior, self.options, self.samples, self.rows = prior, drawing.options, samples, rows
        self.label_rows = prior.conditioner.label_rows
        self.activation = ACTIVATIONS[prior.config.layer.activation]
        length, width = prior.alphabet.length, prior.config.width
        before = prior.conditioner.length - 1
        self.program = program = Program(engine.library, rows, engine.precision, engine.panels, tokens)
        self.codes = torch.zeros(samples, length, dtype=torch.int64) if codes is None else codes
        self.labels = torch.zeros(rows, dtype=torch.int64)
        self.uniform, self.strengths = torch.zeros(samples, length), torch.zeros(length)
        self.logits = program.buffer(program.rows, sum(prior.alphabet.sizes)) if logits is None else logits
        x = program.buffer(program.rows, width)
        self.place = prior.positions
        self.positions = prior.positions(None, rows).detach().clone()
        tables = [e.weight.detach() for e in (prior.code, prior.conditioner.label)]
        inputs = (self.codes, prior.offset, self.labels, *tables, self.positions, x)
        sizes = (program.rows, width, length, samples, int(len(self.positions) > 1), tokens)
        program.add(EMBED, sizes, inputs)
        self.loads = [self._block(block, x, length, before) for block in prior.blocks]
        program.linear(x, (prior.head,), self.logits, norm=prior.norm)

    def _block(self, block, x: Tensor, length: int, before: int):
        program = self.program
        load = LOWERINGS[type(block.mixer)](program, block.mixer, block.norm1, x, length, before)
        if block.up is None:  # a block of a mixer alone
            return load
        hidden = program.buffer(program.rows, block.up.out_features)
        program.linear(x, (block.up,), hidden, norm=block.norm2, activation=self.activation)
        program.linear(hidden, (block.down,), x, adds=True)
        return load

    def choose(self, kind: int, by: Sequence[Tensor], *others: Tensor, guides: bool) -> None:
        """Appends an operation that chooses codes.

        Arguments:
            kind: DRAW or SETTLE.
            by: the logits, and what the operation reads beside them.
            others: its further tensors.
            guides: True where the second half of the logits is what the first is led away from.
        """
        alphabet, options = self.prior.alphabet, self.options
        sizes = torch.tensor(alphabet.slot_sizes)
        count = self.samples if kind == DRAW else self.program.tokens
        numbers = count, self.logits.shape[1], alphabet.length, int(guides), options.top_k
        tensors = *by, self.strengths, self.prior.offset, sizes, self.codes, *others
        self.program.add(kind, numbers, tensors, (options.temperature, options.top_p, options.min_p))

    def suits(self, drawing: SeededDrawing) -> bool:
        """True where the program serves this batch too."""
        return (self.options, self.samples, self.rows) == (
            drawing.options,
            len(drawing.codes),
            drawing.rows,
        )

    def begin(self, drawing: SeededDrawing) -> None:
        """Copies in the contents of a batch, and clears the states of the last one."""
        self.codes.copy_(drawing.codes)
        self.uniform.copy_(drawing.uniform)
        self.strengths.copy_(torch.tensor(drawing.strengths))
        conditions = drawing.row_conditions()
        self.labels.copy_(self.label_rows(conditions, self.rows))
        self.positions.copy_(self.place(conditions, self.rows).detach())
        for state in self.program.states:
            state.zero_()

    def needs_start(self, drawing: SeededDrawing) -> bool:
        """True where there is more than one token in front of the first code that is to be drawn."""
        return bool(drawing.first) or self.prior.conditioner.length > 1

    def start(self, drawing: SeededDrawing) -> None:
        """Computes state and logits behind the conditions and the known codes in PyTorch, all at once."""
        logits, state = self.prior.start(*drawing.start())
        self.load_state(state)
        self.logits.copy_(logits)

    def fill(self, drawing: SeededDrawing) -> None:
        """Runs the program, whose last operation draws, for all codes that are not known; where there was a
        start, for the first of them that operation alone."""
        slot, length = drawing.first, drawing.codes.shape[1]
        begin = len(self.program.operations) - 1 if self.needs_start(drawing) else 0
        while slot < length:
            last = min(slot + _PIECE, length) if slot > drawing.first else slot + 1
            self.program.run(slot, last, begin)
            drawing.codes.copy_(self.codes)
            drawing.progress((last - slot) * len(drawing.codes))
            slot, begin = last, 0

    def load_state(self, state: PriorState) -> None:
        """Copies in each layer's state behind the known codes."""
        for load, layer in zip(self.loads, state.layers, strict=True):
            load(layer)
