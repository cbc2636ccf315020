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
Choose = Callable[[int, int, slice, Tensor], Tensor]
"""Slot, part of a code, rows, weights → the rows' values of that part."""


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
        # codes of several parts are coded part by part over a block, which the batch may not cut
        batch = batch if prior.code_head.parts == 1 else max(batch, MOST_ROWS)
        self.prior, self.batch = copy.deepcopy(prior).double().eval(), batch
        self.mode = Reproducible(self.prior)
        self.head, self.length = self.prior.code_head, prior.alphabet.length
        # a table of all codebooks joined would spend probability on codes of the others
        sizes = zip(prior.alphabet.offsets, prior.alphabet.slot_sizes, strict=True)
        self.entries = [slice(o, o + n) if self.head.tabular else slice(None) for o, n in sizes]

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
        values = torch.stack([self._values(codes[:, slot], slot) for slot in range(self.length)], 1)

        def choose(slot: int, part: int, rows: slice, table: Tensor) -> Tensor:
            bits[rows] += encoders.put(streams[rows], values[rows, slot, part], table)
            return values[rows, slot, part]

        self._walk(streams, choose, progress)
        return bits

    def decode(
        self,
        decoders: Decoders,
        streams: Int[Tensor, "B"],
        progress: Progress = lambda sequences: None,
    ) -> Int[Tensor, "B T"]:
        """The next sequences of the streams, one for each entry of `streams`; the inverse of `encode`."""

        def choose(slot: int, part: int, rows: slice, table: Tensor) -> Tensor:
            return decoders.take(streams[rows], table)

        return self._walk(streams, choose, progress)

    def _values(self, codes: Int[Tensor, "B"], slot: int) -> Int[Tensor, "B parts"]:
        """Values of the codes' parts in the tables of a slot."""
        own = codes.to(self.prior.offset.device)
        return self.head.split(own, slot).cpu() - (self.entries[slot].start or 0)

    def _walk(self, streams: Int[Tensor, "B"], choose: Choose, progress: Progress) -> Int[Tensor, "B T"]:
        codes = torch.zeros(len(streams), self.length, dtype=torch.int64)
        for rows in self._blocks(streams):
            self._steps(rows, choose, codes)
            progress(len(rows))
        return codes

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

    def _steps(self, rows: range, choose: Choose, codes: Int[Tensor, "B T"]) -> None:
        """Steps through all slots; at each the rows in turn, so that no byte depends on the batch."""
        blocks = [slice(r, min(r + self.batch, rows.stop)) for r in range(rows.start, rows.stop, self.batch)]
        states: list[Any] = [None] * len(blocks)
        for slot in range(self.length):
            for number, own in enumerate(blocks):
                with reproducible(self.mode):
                    if slot == 0:
                        outputs, states[number] = self.prior.start(None, own.stop - own.start)
                    else:
                        before = codes[own, slot - 1].to(self.prior.offset.device)
                        outputs, states[number] = self.prior.step(before, states[number])
                codes[own, slot] = self._code(outputs, slot, own, choose).cpu()

    def _code(self, outputs: Tensor, slot: int, rows: slice, choose: Choose) -> Int[Tensor, "n"]:
        """The rows' codes at a slot, part by part; the coder itself is not a part of the network."""
        walk, entries = self.head.walk(outputs, slot), self.entries[slot]
        with reproducible(self.mode):
            logits, before = next(walk)
        while True:
            found = [
                choose(slot, before + part, rows, weights(logits[:, part, entries]).cpu())
                for part in range(logits.shape[1])
            ]
            values = torch.stack(found, 1).to(outputs.device) + (entries.start or 0)
            try:
                with reproducible(self.mode):
                    logits, before = walk.send(values)
            except StopIteration as end:
                return end.value
