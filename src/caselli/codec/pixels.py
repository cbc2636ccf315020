"""Pixels ⟷ streams of bytes, given the reconstruction that the codes make."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from caselli.codec.coder import Decoders, Encoders, weights
from caselli.codec.reproducible import Reproducible, reproducible
from caselli.codec.residual import SLOPE, Context, Places, ResidualModel, context
from caselli.shapes import Float, Int, Tensor

ROWS = 4096
"""Number of pixels that are computed together; the bytes do not depend on it."""

Progress = Callable[[float], None]


class Pixels:
    """Codes pixels of pictures of one size with a residual model's probabilities, in any number of streams.

    A pixel waits for its neighbours above and to the left: all pixels whose column + 2 · row is the same are
    coded at the same time, in all pictures.

    Arguments:
        network: the residual model.
        rows: pixels that are computed together; the bytes do not depend on it.
    """

    def __init__(self, network: ResidualModel, rows: int = ROWS) -> None:
        self.network, self.rows = copy.deepcopy(network).double().eval(), rows
        self.mode = Reproducible(self.network)

    def encode(
        self,
        pixels: Int[Tensor, "B C H W"],
        reconstruction: Int[Tensor, "B C H W"],
        encoders: Encoders,
        streams: Int[Tensor, "B"],
        progress: Progress = lambda pictures: None,
    ) -> Float[Tensor, "B"]:
        """Appends each picture to its stream; the bits of each.

        Arguments:
            pixels: 0 … 255.
            reconstruction: 0 … 255, by arithmetic that gives the same bits anywhere.
            encoders: the streams.
            streams: number of each picture's stream, ascending.
            progress: called with the number of pictures that are done, a fraction as a rule.
        """
        bits = torch.zeros(len(pixels), dtype=torch.float64)
        for fronts in _together(_fronts(*pixels.shape[2:]), len(pixels), self.rows):
            each = [_places(front, len(pixels)) for front in fronts]
            places = Places(*(torch.cat(parts) for parts in zip(*map(_fields, each), strict=True)))
            known = context(pixels, reconstruction, places)
            values = pixels[places.picture, :, places.row, places.column]
            tables = [self._tables(known, values, c) for c in range(values.shape[1])]
            first = 0
            for front in each:
                part = slice(first, first + len(front))
                for c, table in enumerate(tables):
                    cost = encoders.put(streams[front.picture], values[part, c], table[part])
                    bits.index_add_(0, front.picture, cost)
                first = part.stop
            progress(len(places) / pixels[0, 0].numel())
        return bits

    @torch.no_grad()
    def bits(
        self, pixels: Int[Tensor, "B C H W"], reconstruction: Int[Tensor, "B C H W"]
    ) -> Float[Tensor, "B"]:
        """The bits that `encode` gives, to about half a per cent, in ordinary and much faster arithmetic."""
        bits = torch.zeros(len(pixels), dtype=torch.float64)
        size = (len(pixels), *pixels.shape[2:])
        for some in torch.arange(math.prod(size)).split(self.rows):
            places = Places(*torch.unravel_index(some, size))
            known = context(pixels, reconstruction, places)
            values = pixels[places.picture, :, places.row, places.column]
            for c in range(values.shape[1]):
                nats = F.cross_entropy(self.network(known, values, c), values[:, c], reduction="none")
                bits.index_add_(0, places.picture, nats / math.log(2))
        return bits

    def decode(
        self,
        reconstruction: Int[Tensor, "B C H W"],
        decoders: Decoders,
        streams: Int[Tensor, "B"],
        progress: Progress = lambda pictures: None,
    ) -> Int[Tensor, "B C H W"]:
        """The next pictures of the streams; the inverse of `encode`."""
        pixels = torch.zeros_like(reconstruction)
        for front in _fronts(*pixels.shape[2:]):
            places = _places(front, len(pixels))
            known = context(pixels, reconstruction, places)
            values = torch.zeros(len(places), pixels.shape[1], dtype=torch.int64)
            owners = streams[places.picture]
            for c in range(pixels.shape[1]):
                for first in range(0, len(places), self.rows):
                    part = slice(first, first + self.rows)
                    table = self._tables(known[part], values[part], c)
                    values[part, c] = decoders.take(owners[part], table)
            pixels[places.picture, :, places.row, places.column] = values
            progress(len(places) / pixels[0, 0].numel())
        return pixels

    def _tables(self, known: Context, values: Tensor, channel: int) -> Float[Tensor, "n 256"]:
        parts = []
        for first in range(0, len(values), self.rows):
            part = slice(first, first + self.rows)
            with reproducible(self.mode):
                logits = self.network(known[part], values[part], channel)
            parts.append(weights(logits))
        return torch.cat(parts)


def _fronts(height: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and columns of the pixels that can be coded at the same time, one set after another."""
    for time in range(width + SLOPE * (height - 1)):
        first, last = max(0, -(-(time - width + 1) // SLOPE)), min(height - 1, time // SLOPE)
        row = torch.arange(first, last + 1)
        if len(row):
            yield row, time - SLOPE * row


def _places(front: tuple[Tensor, Tensor], pictures: int) -> Places:
    """The pixels of a front in every picture, picture after picture."""
    row, column = front
    picture = torch.arange(pictures).repeat_interleave(len(row))
    return Places(picture, row.repeat(pictures), column.repeat(pictures))


def _fields(places: Places) -> tuple[Tensor, Tensor, Tensor]:
    return places.picture, places.row, places.column


def _together(fronts: Iterator, pictures: int, rows: int) -> Iterator[list]:
    """Fronts in lists of about `rows` pixels."""
    kept: list = []
    for front in fronts:
        kept.append(front)
        if sum(len(row) for row, _ in kept) * pictures >= rows:
            yield kept
            kept = []
    if kept:
        yield kept
