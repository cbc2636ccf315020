"""Pictures larger than memory through a tokenizer: tiles without seams."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from caselli.anatomy import ReceptiveField, apart
from caselli.errors import UserError
from caselli.shapes import Float, Int, Tensor
from caselli.tokenizer.tokenizer import Tokenizer

CELLS = 64
"""Cells along each side of the map whose middle cell's receptive field is computed."""


@dataclasses.dataclass(frozen=True)
class Reach:
    """Number of cells that a cell of the output sees before and behind its own; a cell is a code's place."""

    before: int
    behind: int


class Tiles:
    r"""Encodes and decodes by overlapping tiles, and needs no more memory for a larger picture.

    Where a network is local, as convolutions without normalisation are, a tile takes in a margin of exactly
    the cells that its own cells see: the result is that of the whole picture at once. Where every output sees
    everything, by attention or by normalisation over the map, tiles have the size of the training pictures,
    overlap by half or more, and are mixed with weights that rise and fall smoothly:

    .. math:: \hat x(p) = \sum_k a_k(p)\,\hat x_k(p), \qquad a_k(p) \propto \sin^2 \frac{\pi (p - s_k)}{n},
        \quad \sum_k a_k(p) = 1

    with s_k and n the start and the length of tile k along an axis. Which of both holds follows from
    the networks' receptive fields, see `reach`.

    Arguments:
        tokenizer: in evaluation mode.
        window: rows and columns of codes of a training picture.

    Errors: `UserError` where the codes have no places.

    Example:
        >>> from caselli.tokenizer import TokenizerConfig
        >>> config = TokenizerConfig(architecture="dvae", factor=2, width=8, latent_width=4)
        >>> tiles = Tiles(Tokenizer(config).eval(), (4, 4))
        >>> tiles.decoding, tiles.decode(torch.zeros(1, 9, 4, dtype=torch.int64)).shape
        (Reach(before=5, behind=5), torch.Size([1, 3, 18, 8]))
    """

    def __init__(self, tokenizer: Tokenizer, window: tuple[int, int]) -> None:
        config = tokenizer.config
        self.tokenizer, self.window, self.factor = tokenizer, window, config.factor
        shape = tokenizer.code_shape((window[0] * config.factor, window[1] * config.factor))
        if len(shape) != 2:
            raise UserError(
                "a tokenizer whose codes lie on one axis was given",
                "for pictures of another size than the training's, codes with places are needed",
            )
        self.decoding = reach(tokenizer.decoder, config.latent_width, 1, config.factor)
        self.encoding = reach(tokenizer.encoder, config.channels, config.factor, 1)

    def decode(self, codes: Int[Tensor, "B *grid"]) -> Float[Tensor, "B C H W"]:
        """The codes' pictures, whole."""
        return torch.cat(list(self.strips(codes)), 2)

    @torch.no_grad()
    def strips(self, codes: Int[Tensor, "B *grid"]) -> Iterator[Float[Tensor, "B C h W"]]:
        """The codes' pictures from top to bottom, as soon as a part is ready: codes are `B h w`, or
        `B Q h w`."""

        def tile(row: Piece, column: Piece) -> Tensor:
            return self.tokenizer.decode(codes[..., row.cells, column.cells])

        yield from _strips(self._pieces(codes.shape[-2:], self.decoding, self.factor), tile)

    @torch.no_grad()
    def encode(self, pictures: Float[Tensor, "B C H W"]) -> Int[Tensor, "B *grid"]:
        """The codes of pictures whose height and width the factor divides."""
        self.tokenizer.check(pictures)
        f = self.factor

        def tile(row: Piece, column: Piece) -> Tensor:
            part = pictures[..., row.start * f : row.stop * f, column.start * f : column.stop * f]
            return self.tokenizer.encoder(part)

        cells = pictures.shape[-2] // f, pictures.shape[-1] // f
        latents = _strips(self._pieces(cells, self.encoding, 1), tile)
        return self.tokenizer.quantizer.encode(torch.cat(list(latents), -2))

    def about(self) -> str:
        """The tiling of the decoder in words."""
        if self.decoding is None:
            return "every pixel sees all codes here: tiles of the training pictures' size are blended"
        return f"tiles with a margin of {self.decoding.before} and {self.decoding.behind} codes are exact"

    def _pieces(self, cells: tuple[int, ...], found: Reach | None, unit: int) -> tuple[list[Piece], ...]:
        if found is None:
            return tuple(blended(n, w, unit) for n, w in zip(cells, self.window, strict=True))
        return tuple(exact(n, w, found, unit) for n, w in zip(cells, self.window, strict=True))


# what a cell sees -------------------------------------------------------------------------------------------


def reach(network: nn.Module, channels: int, taken: int, given: int) -> Reach | None:
    """Number of cells that an output cell sees on either side of its own, or None if it sees all of them.

    It is the receptive field of the outputs of one cell, as `caselli.anatomy` finds it from the network's
    structure; what statistics of a normalisation span counts as seen.

    Arguments:
        network: `B C H W` → `B D h w`.
        channels: C.
        taken, given: pixels along each side of a cell, in the input and in the output.

    Example:
        >>> reach(nn.Conv2d(2, 3, 5, padding=2), 2, 1, 1), reach(nn.GroupNorm(1, 2), 2, 1, 1)
        (Reach(before=2, behind=2), None)
    """
    shape = (channels, CELLS * taken, CELLS * taken)
    fields = ReceptiveField(apart(network), shape, count_statistics=True)
    middle = CELLS // 2
    places = np.arange(middle * given, (middle + 1) * given)
    output = fields.tape.outputs[0]
    found = fields.intervals({output: [places, places]}, fields.tape.inputs[0])[output]
    if any(whole for _, _, whole in found):
        return None
    first = [along[0][along[0] <= along[1]] for along in found]  # places that see nothing are left out
    last = [along[1][along[0] <= along[1]] for along in found]
    return Reach(
        max((middle - int(x.min()) // taken for x in first if x.size), default=0),
        max((int(x.max()) // taken - middle for x in last if x.size), default=0),
    )


# tiles along one axis ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Piece:
    """The cells of a tile along one axis, and how much each number of its output counts."""

    start: int
    stop: int
    weights: Float[Tensor, "n"]

    @property
    def cells(self) -> slice:
        """Where it lies."""
        return slice(self.start, self.stop)


def exact(length: int, tile: int, found: Reach, unit: int) -> list[Piece]:
    """Pieces that each give `tile` cells, with the cells around that these see.

    Example:
        >>> [(p.start, p.stop, p.weights.tolist()) for p in exact(5, 3, Reach(1, 1), 1)]
        [(0, 4, [1.0, 1.0, 1.0, 0.0]), (2, 5, [0.0, 1.0, 1.0])]
    """
    pieces = []
    for first in range(0, length, tile):
        last = min(first + tile, length)
        start, stop = max(0, first - found.before), min(length, last + found.behind)
        weights = torch.zeros((stop - start) * unit)
        weights[(first - start) * unit : (last - start) * unit] = 1
        pieces.append(Piece(start, stop, weights))
    return pieces


def blended(length: int, tile: int, unit: int) -> list[Piece]:
    """Pieces of `tile` cells that overlap by half of it at least, evenly spread, and fade into each other.

    Example:
        >>> [(p.start, p.stop, p.weights.tolist()) for p in blended(3, 2, 1)]
        [(0, 2, [1.0, 0.5]), (1, 3, [0.5, 1.0])]
    """
    tile = min(tile, length)
    steps = math.ceil((length - tile) / max(1, tile // 2))
    starts = [round(k * (length - tile) / max(1, steps)) for k in range(steps + 1)]
    place = (torch.arange(tile * unit) + 0.5) / (tile * unit)
    window = torch.sin(torch.pi * place).square()
    total = torch.zeros(length * unit)
    for start in starts:
        total[start * unit : (start + tile) * unit] += window
    return [Piece(s, s + tile, window / total[s * unit : (s + tile) * unit]) for s in starts]


def _strips(
    pieces: tuple[list[Piece], ...], tile: Callable[[Piece, Piece], Tensor]
) -> Iterator[Float[Tensor, "B C h W"]]:
    """The weighted sum of all tiles, from top to bottom, each row as soon as no later tile adds to it."""
    rows, columns = pieces
    pending: Tensor | None = None
    for number, row in enumerate(rows):
        strip = _across(row, columns, tile)
        if pending is not None:
            strip[..., : pending.shape[-2], :] += pending
        following = rows[number + 1].start if number + 1 < len(rows) else row.stop
        ready = (following - row.start) * (strip.shape[-2] // (row.stop - row.start))
        yield strip[..., :ready, :]
        pending = strip[..., ready:, :].clone()


def _across(row: Piece, columns: list[Piece], tile: Callable[[Piece, Piece], Tensor]) -> Tensor:
    """The weighted sum of the tiles of one row."""
    strip = None
    for column in columns:
        part = tile(row, column)
        unit = part.shape[-1] // (column.stop - column.start)
        if strip is None:
            strip = part.new_zeros(*part.shape[:-1], columns[-1].stop * unit)
        weights = row.weights[:, None] * column.weights
        strip[..., column.start * unit : column.stop * unit] += part * weights.to(part)
    return strip
