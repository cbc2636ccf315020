"""Sequences of codes ⟷ bytes, by a prior that steps through all of them at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch

from caselli.codec.coder import Decoder, Decoders, Encoder, Encoders, weights
from caselli.codec.reproducible import Reproducible, reproducible
from caselli.errors import UserError
from caselli.prior import Autoregressive
from caselli.shapes import Float, Int, Tensor

MOST_ROWS = 256
MOST_STATE = 1 << 28
"""Sequences that step together, and bytes of their states; part of the format, as it orders the symbols."""

Choose = Callable[[int, slice, Tensor], Tensor]
"""Slot, rows, weights → the rows' codes at that slot."""


class Sequences:
    """Codes sequences with a prior's probabilities, slot by slot, in one stream for many sequences.

    Arguments:
        prior: autoregressive, over any mixer whose operations `Reproducible` knows.
        batch: sequences that are computed together; the bytes do not depend on it.

    Errors: `UserError` for another kind of prior.
    """

    def __init__(self, prior: Autoregressive, batch: int = 256) -> None:
        if prior.straight() is not prior:
            raise UserError(
                f"a prior of kind {prior.kind!r} was given",
                "the codec needs one that gives each code's probabilities from those before it",
                "train with an autoregressive prior",
            )
        if batch < 1:
            raise UserError(f"batch {batch} was given", "at least 1 was expected")
        self.prior, self.batch = copy.deepcopy(prior).double().eval(), batch
        self.mode = Reproducible(self.prior)
        alphabet = prior.alphabet
        sizes = [alphabet.sizes[q] for q in alphabet.codebooks]
        self.slots = [slice(o, o + n) for o, n in zip(prior.offset.tolist(), sizes, strict=True)]
        self.length = alphabet.length

    def encode(
        self,
        codes: Int[Tensor, "B T"],
        encoder: Encoder | Encoders,
        progress: Callable[[int], None] = lambda sequences: None,
    ) -> Float[Tensor, "B"]:
        """Appends the sequences; the bits of each."""
        bits = torch.zeros(len(codes), dtype=torch.float64)

        def choose(slot: int, rows: slice, table: Tensor) -> Tensor:
            bits[rows] += encoder.of(rows).put(codes[rows, slot], table)
            return codes[rows, slot]

        for rows in self._together(len(codes)):
            self._walk(rows, choose)
            progress(len(rows))
        return bits

    def decode(
        self,
        count: int,
        decoder: Decoder | Decoders,
        progress: Callable[[int], None] = lambda sequences: None,
    ) -> Int[Tensor, "B T"]:
        """The next `count` sequences."""
        codes = torch.zeros(count, self.length, dtype=torch.int64)

        def choose(slot: int, rows: slice, table: Tensor) -> Tensor:
            codes[rows, slot] = decoder.of(rows).take(table)
            return codes[rows, slot]

        for rows in self._together(count):
            self._walk(rows, choose)
            progress(len(rows))
        return codes

    def _together(self, count: int) -> Iterator[range]:
        """Rows that share their steps: as many as their states have room for."""
        _, state = start(self.prior, 1)
        one = sum(tensor.numel() * 8 for tensor in state.carried())  # the order of the stream depends on it
        most = max(1, min(MOST_ROWS, MOST_STATE // max(1, one)))
        for first in range(0, count, most):
            yield range(first, min(first + most, count))

    def _walk(self, rows: range, choose: Choose) -> None:
        """All slots of some rows; at each the rows in turn, whatever the batch."""
        parts = [slice(r, min(r + self.batch, rows.stop)) for r in range(rows.start, rows.stop, self.batch)]
        states: list[Any] = [None] * len(parts)
        codes: list[Tensor] = [torch.empty(0)] * len(parts)
        for slot, own in enumerate(self.slots):
            for number, part in enumerate(parts):
                with reproducible(self.mode):
                    if slot == 0:
                        logits, states[number] = start(self.prior, part.stop - part.start)
                    else:
                        logits, states[number] = self.prior.step(codes[number], states[number])
                table = weights(logits[:, own]).cpu()
                codes[number] = choose(slot, part, table).to(logits.device)


def start(prior: Autoregressive, count: int) -> tuple[Tensor, Any]:
    """The first slot's logits of `count` sequences without a condition, and their state."""
    return prior.start(None, count)
