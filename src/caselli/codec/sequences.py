"""Sequences of codes ⟷ streams of bytes, by a prior that steps through many sequences at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch

from caselli.codec.coder import Decoders, Encoders, weights
from caselli.codec.reproducible import Reproducible, reproducible
from caselli.errors import UserError
from caselli.prior import Autoregressive
from caselli.shapes import Float, Int, Tensor

MOST_ROWS = 256
MOST_STATE = 1 << 28
"""Largest number of sequences that step together, and of bytes of their states; part of the format, since a
stream holds its sequences in blocks of so many, slot by slot."""

Progress = Callable[[int], None]
Choose = Callable[[int, slice, Tensor], Tensor]
"""Slot, rows, weights → the rows' codes at that slot."""


class Sequences:
    """Codes sequences with a prior's probabilities, slot by slot, in any number of streams.

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
        encoders: Encoders,
        streams: Int[Tensor, "B"],
        progress: Progress = lambda sequences: None,
    ) -> Float[Tensor, "B"]:
        """Appends each sequence to its stream; the bits of each.

        Arguments:
            codes: the sequences.
            encoders: the streams.
            streams: number of each sequence's stream, ascending.
            progress: called with the number of sequences that are done.
        """
        bits = torch.zeros(len(codes), dtype=torch.float64)

        def choose(slot: int, rows: slice, table: Tensor) -> Tensor:
            bits[rows] += encoders.put(streams[rows], codes[rows, slot], table)
            return codes[rows, slot]

        self._walk(streams, choose, progress)
        return bits

    def decode(
        self,
        decoders: Decoders,
        streams: Int[Tensor, "B"],
        progress: Progress = lambda sequences: None,
    ) -> Int[Tensor, "B T"]:
        """The next sequences of the streams, one for each entry of `streams`; the inverse of `encode`."""
        codes = torch.zeros(len(streams), self.length, dtype=torch.int64)

        def choose(slot: int, rows: slice, table: Tensor) -> Tensor:
            codes[rows, slot] = decoders.take(streams[rows], table)
            return codes[rows, slot]

        self._walk(streams, choose, progress)
        return codes

    def _walk(self, streams: Int[Tensor, "B"], choose: Choose, progress: Progress) -> None:
        for rows in self._blocks(streams):
            self._steps(rows, choose)
            progress(len(rows))

    def _blocks(self, streams: Int[Tensor, "B"]) -> Iterator[range]:
        """Rows that step together. A block of one stream is never cut in two, so that a stream reads alike
        alone and among others."""
        state = self.prior.start(None, 1)[1]
        one = sum(tensor.numel() * 8 for tensor in state.carried())  # the order of the stream depends on it
        most = max(1, min(MOST_ROWS, MOST_STATE // max(1, one)))
        first = last = 0
        for count in streams.unique_consecutive(return_counts=True)[1].tolist():
            for size in [most] * (count // most) + [count % most] * (count % most > 0):
                if last + size - first > most:
                    yield range(first, last)
                    first = last
                last += size
        if last > first:
            yield range(first, last)

    def _steps(self, rows: range, choose: Choose) -> None:
        """Steps through all slots; at each the rows in turn, so that no byte depends on the batch."""
        parts = [slice(r, min(r + self.batch, rows.stop)) for r in range(rows.start, rows.stop, self.batch)]
        states: list[Any] = [None] * len(parts)
        codes: list[Tensor] = [torch.empty(0)] * len(parts)
        for slot, own in enumerate(self.slots):
            for number, part in enumerate(parts):
                with reproducible(self.mode):
                    if slot == 0:
                        logits, states[number] = self.prior.start(None, part.stop - part.start)
                    else:
                        logits, states[number] = self.prior.step(codes[number], states[number])
                table = weights(logits[:, own]).cpu()
                codes[number] = choose(slot, part, table).to(logits.device)
