"""The engine that runs whole sequences in compiled code."""

from __future__ import annotations

import torch

from caselli.prior.autoregressive import Autoregressive
from caselli.prior.base import Prior
from caselli.prior.drawing import Drawing, Sampling
from caselli.sampling.base import Engine
from caselli.sampling.compile import Unavailable, library
from caselli.sampling.lower import LOWERINGS
from caselli.sampling.program import DRAW, EMBED, GELU, Packed, Program
from caselli.sampling.rounding import rounded
from caselli.shapes import Tensor

PIECE = 16
"""Slots between two reports of progress, behind the first."""


class Fused(Engine):
    """Layers, guidance and drawing as one list of operations over preallocated buffers, slot after slot.

    No Python runs and nothing is allocated between codes; weights are packed once, in float32, bfloat16 or
    int8, and a sample does not depend on those beside it, not even in the last bit.

    Errors: `caselli.sampling.compile.Unavailable`, with the reason, where it cannot serve this prior.
    """

    def __init__(self, prior: Prior, precision: str = "float32") -> None:
        reason = unsuited(prior)
        if reason:
            raise Unavailable(reason)
        self.prior, self.precision = rounded(prior, precision), precision
        self.library = library()
        self.packs: dict[tuple[int, ...], Packed] = {}
        self.steps: Steps | None = None

    @property
    def name(self) -> str:
        return f"fused step, {self.precision} weights"

    def draw(self, drawing: Drawing) -> None:
        steps = self.steps
        if steps is None or not steps.suits(drawing):
            self.steps = steps = None  # the old buffers go before the new ones come
            self.steps = steps = Steps(self, drawing)
        steps.begin(drawing)
        first, length = drawing.first, self.prior.alphabet.length
        if first or self.prior.conditioner.length > 1:
            first = self._behind_known(steps, drawing)
        while first < length:
            last = min(first + PIECE, length) if first > drawing.first else first + 1
            steps.program.run(first, last)
            drawing.progress((last - first) * len(drawing.codes))
            first = last
        drawing.codes.copy_(steps.codes)

    def _behind_known(self, steps: Steps, drawing: Drawing) -> int:
        """Takes in the conditions and the known codes at once, and draws the first code behind them."""
        logits, state = self.prior.start(*drawing.known())
        steps.bring_in(state)
        steps.logits.copy_(logits)
        steps.program.run(drawing.first, drawing.first + 1, begin=len(steps.program.operations) - 1)
        drawing.progress(len(drawing.codes))
        return drawing.first + 1

    def bytes_per_step(self) -> int:
        if self.steps is None:
            return 0
        return self.steps.program.weight_bytes + self.steps.program.state_bytes // 2


class Steps:
    """The program of a prior for a number of samples, and the buffers it reads and writes."""

    def __init__(self, engine: Fused, drawing: Drawing) -> None:
        prior, samples, rows = engine.prior, len(drawing.codes), drawing.rows
        self.options, self.samples, self.rows = drawing.options, samples, rows
        self.label_rows = prior.conditioner.label_rows
        length, width = prior.alphabet.length, prior.config.width
        before = prior.conditioner.length - 1
        self.program = program = Program(engine.library, rows, engine.precision, engine.packs)
        self.codes = torch.zeros(samples, length, dtype=torch.int64)
        self.labels = torch.zeros(rows, dtype=torch.int64)
        self.uniform, self.strengths = torch.zeros(samples, length), torch.zeros(length)
        self.logits, x = torch.zeros(rows, sum(prior.alphabet.sizes)), program.buffer(rows, width)
        self.place = prior.positions
        self.positions = prior.positions(None, rows).detach().clone()
        tables = [e.weight.detach() for e in (prior.code, prior.conditioner.label)]
        inputs = (self.codes, prior.offset, self.labels, *tables, self.positions, x)
        program.add(EMBED, (rows, width, length, samples, int(len(self.positions) > 1)), inputs)
        self.imports = [self._block(block, x, length, before) for block in prior.blocks]
        program.linear(x, (prior.head,), self.logits, norm=prior.norm)
        self._draw(prior, length)

    def _block(self, block, x: Tensor, length: int, before: int):
        program, inner = self.program, block.up.out_features
        bring_in = LOWERINGS[type(block.mixer)](program, block.mixer, block.norm1, x, length, before)
        hidden = program.buffer(program.rows, inner)
        program.linear(x, (block.up,), hidden, norm=block.norm2, activation=GELU)
        program.linear(hidden, (block.down,), x, adds=True)
        return bring_in

    def _draw(self, prior: Autoregressive, length: int) -> None:
        options: Sampling = self.options
        sizes = torch.tensor([prior.alphabet.sizes[q] for q in prior.alphabet.codebooks])
        guides = int(self.rows > self.samples)
        self.program.add(
            DRAW,
            (self.samples, self.logits.shape[1], length, guides, options.top_k),
            (self.logits, self.uniform, self.strengths, prior.offset, sizes, self.codes),
            (options.temperature, options.top_p, options.min_p),
        )

    def suits(self, drawing: Drawing) -> bool:
        """Whether the program may be used again."""
        return (self.options, self.samples, self.rows) == (
            drawing.options,
            len(drawing.codes),
            drawing.rows,
        )

    def begin(self, drawing: Drawing) -> None:
        """Copies in what this batch is about, and forgets the last one."""
        self.codes.copy_(drawing.codes)
        self.uniform.copy_(drawing.uniform)
        self.strengths.copy_(torch.tensor(drawing.strengths))
        conditions = drawing.row_conditions()
        self.labels.copy_(self.label_rows(conditions, self.rows))
        self.positions.copy_(self.place(conditions, self.rows).detach())
        for state in self.program.states:
            state.zero_()

    def bring_in(self, state) -> None:
        """Each layer's state behind the known codes."""
        for bring_in, layer in zip(self.imports, state.layers, strict=True):
            bring_in(layer)


def unsuited(prior: Prior) -> str:
    """Why the fused step cannot serve a prior; empty where it can."""
    if not isinstance(prior, Autoregressive):
        return f"no fused step for a {prior.kind.replace('_', '-')} prior"
    weight = prior.head.weight
    if weight.device.type != "cpu":
        return f"the fused step is for the CPU, the prior is on {weight.device.type}"
    if weight.dtype != torch.float32:
        return f"the fused step is for float32, the prior has {weight.dtype}"
    others = sorted({type(b.mixer).__name__ for b in prior.blocks if type(b.mixer) not in LOWERINGS})
    return f"no fused step for {', '.join(others)}" if others else ""
