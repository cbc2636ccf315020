"""A distribution over a grid of codes by masked convolutions, row by row."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.mixer.dense import Dense
from caselli.prior.base import Prior
from caselli.prior.conditions import Conditioner, Conditions
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.drawing import Drawing
from caselli.prior.head import Slots
from caselli.prior.layer import Dropout
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class PixelCNNOptions:
    """Options of a PixelCNN."""

    kernel: int = 3
    """Columns that a convolution sees; it sees half as many rows, its own included. The whole sees
    1 + depth · ⌊kernel / 2⌋ rows above."""

    def __post_init__(self) -> None:
        if self.kernel < 3 or self.kernel % 2 == 0:
            raise UserError(f"kernel {self.kernel} was given", "an odd number from 3 on was expected")


class GatedLayer(nn.Module):
    r"""A layer of two stacks: one sees the rows above, the other the codes to the left and the first stack.

    .. math::
        a = W_v * N v + U_v c, \quad v \leftarrow v + g(a), \qquad
        h \leftarrow h + W_o\, g(W_h * N h + W_l a + U_h c), \qquad g(p, q) = \tanh p \cdot \sigma(q)

    with N a layer normalisation and c the vector of the conditions. The kernels lie in linear layers, so that
    one row or one column can be computed alone.

    Arguments:
        width: E.
        kernel: columns that W_v sees.
        dropout: share of each stack's output that is dropped in training.
    """

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.kernel, self.reach = kernel, kernel // 2 + 1
        self.norm_above, self.norm_left = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.above = Dense(self.reach * kernel * width, 2 * width)
        self.left = Dense(self.reach * width, 2 * width)
        # `told` takes the conditions: the name stands in the files of runs
        self.link, self.told = Dense(2 * width, 2 * width), Dense(width, 4 * width)
        self.output = Dense(width, width)
        self.dropout = Dropout(dropout)

    def rows(
        self, v: Float[Tensor, "B H W E"], before: Float[Tensor, "B R W E"], condition: Float[Tensor, "B E"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The stack that sees the rows above: a, the new v, and the last normalised rows, its state."""
        seen = torch.cat((before, self.norm_above(v)), 1)
        side = self.kernel // 2
        windows = F.pad(seen, (0, 0, side, side)).unfold(1, self.reach, 1).unfold(2, self.kernel, 1)
        a = self.above(windows.flatten(3)) + self.told(condition)[:, None, None, : 2 * v.shape[-1]]
        return a, v + self.dropout(gate(a)), seen[:, seen.shape[1] - self.reach + 1 :]

    def columns(
        self,
        h: Float[Tensor, "n W E"],
        before: Float[Tensor, "n R E"],
        a: Float[Tensor, "n W F"],
        condition: Float[Tensor, "n E"],
    ) -> tuple[Tensor, Tensor]:
        """The stack that sees the codes to the left, each row by itself: the new h, and the last normalised
        columns, its state."""
        seen = torch.cat((before, self.norm_left(h)), 1)
        windows = seen.unfold(1, self.reach, 1).flatten(2)
        inner = self.left(windows) + self.link(a) + self.told(condition)[:, None, 2 * h.shape[-1] :]
        return h + self.dropout(self.output(gate(inner))), seen[:, seen.shape[1] - self.reach + 1 :]


def gate(x: Float[Tensor, "*A F"]) -> Float[Tensor, "*A E"]:
    """tanh of the first half of the channels times the sigmoid of the second.

    Example:
        >>> gate(torch.tensor([0.0, 5.0]))
        tensor([0.])
    """
    value, share = x.chunk(2, -1)
    return value.tanh() * share.sigmoid()


class PixelCNN(Prior):
    r"""A gated PixelCNN over the grid of codes, without blind spot.

    .. math:: \log p(x \mid c) = \sum_{r, k} \log p(x_{rk} \mid c, x_{<r,\cdot}, x_{r,<k})

    The first stack sees whole rows above, the second its own row to the left, so that together they see all
    codes before a position, as far as depth and kernel reach. With several codebooks the codes of a position
    come one after the other, each given those before. The condition is the mean of the conditioner's vectors.
    Drawing computes each row of the first stack and each position of the second once.

    Arguments:
        config: the architecture; width, depth, dropout, and `PixelCNNOptions`. It has no mixers.
        alphabet: slots, codebooks, conditions and places, in raster order.

    Errors: `UserError` for another order, or codes without places.

    Sources: van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders; Ramachandran et
    al. 2017, Fast Generation for Convolutional Autoregressive Models.

    Example:
        >>> alphabet = Alphabet((8,), (0,) * 4, places=((0, 0), (0, 1), (1, 0), (1, 1)))
        >>> prior = PixelCNN(PriorConfig(kind="pixel_cnn", width=32, depth=1), alphabet)
        >>> prior.log_prob(torch.zeros(2, 4, dtype=torch.int64), None).shape
        torch.Size([2, 4])
    """

    kind = "pixel_cnn"
    options_kind = PixelCNNOptions

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        super().__init__(config, alphabet)
        self.height, self.columns = raster_size(alphabet)
        width, embedding = config.width, self.code_head.embedding
        self.code, self.conditioner = embedding(alphabet, width), Conditioner(config, alphabet)
        self.position = nn.Embedding(self.height * self.columns, width)
        self.blocks = nn.ModuleList(
            GatedLayer(width, self.options.kernel, config.dropout) for _ in range(config.depth)
        )
        self.norm, self.mix = nn.LayerNorm(width, bias=False), Dense(width, width)
        self.head = nn.Linear(width, self.code_head.features, bias=False)
        self.beside = embedding(alphabet, width) if len(alphabet.sizes) > 1 else None
        self.conditioner.start()
        for layer in (self.code, self.position, self.head, *([self.beside] if self.beside else [])):
            nn.init.normal_(layer.weight, std=0.02)

    # the distribution ---------------------------------------------------------------------------------------

    def log_prob(self, sequence, condition, seen=None):
        logits = self.logits(sequence if seen is None else seen, condition)
        return self.code_head.log_prob(logits, sequence, slice(None))

    def logits(self, sequence, condition) -> Float[Tensor, "B T F"]:
        """Parameters of the head's distribution of every slot, see `outputs`."""
        vector, position = (
            self.conditioned(condition, len(sequence)),
            self._positions(condition, len(sequence)),
        )
        codes = sequence + self.offset
        grid = self.code(codes).unflatten(1, (self.height, self.columns, -1)).sum(3)
        position = position.unflatten(1, (self.height, self.columns))
        v = F.pad(grid, (0, 0, 0, 0, 1, -1)) + position
        h = (F.pad(grid, (0, 0, 1, -1)) + position).flatten(0, 1)
        each = vector.repeat_interleave(self.height, 0)
        for layer in self.blocks:
            a, v, _ = layer.rows(v, self._blank(layer, grid[:, :1]), vector)
            h, _ = layer.columns(h, h.new_zeros(len(h), layer.reach - 1, h.shape[2]), a.flatten(0, 1), each)
        y = h.unflatten(0, (-1, self.height)).flatten(1, 2)[:, :, None]
        if self.beside is not None:
            inner = self.beside(codes).unflatten(1, (y.shape[1], -1))
            y = y + inner.cumsum(2) - inner
        return self.outputs(y.flatten(1, 2), slice(None))

    def conditioned(self, condition, batch: int) -> Float[Tensor, "B E"]:
        """The conditions as one vector."""
        return self.prefix(condition, batch).mean(1)

    def _positions(self, condition, batch: int) -> Float[Tensor, "*B P E"]:
        """Position embeddings, with those of the other picture's codes there; B is 1 without one."""
        there = self.conditioner.at_places(Conditions.of(condition), batch)
        positions = self.position.weight[None]
        return positions if there is None else positions + there[:, :: len(self.alphabet.sizes)]

    def outputs(self, y: Float[Tensor, "B T E"], slots: Slots) -> Float[Tensor, "B T F"]:
        """Parameters of the head's distributions of slots, see `SequencePrior.outputs`."""
        return self.code_head.outputs(self.head(F.gelu(self.mix(self.norm(y)))), slots)

    def _blank(self, layer: GatedLayer, row: Float[Tensor, "B 1 W E"]) -> Float[Tensor, "B R W E"]:
        """Rows above the first: zeros."""
        return torch.zeros_like(row).expand(-1, layer.reach - 1, -1, -1)

    # drawing ------------------------------------------------------------------------------------------------

    def draw(self, drawing: Drawing) -> int:
        conditions = drawing.row_conditions()
        vector = self.conditioned(conditions, drawing.rows)
        positions = self._positions(conditions, drawing.rows)
        above = vector[:, None, None].expand(-1, 1, self.columns, -1) * 0
        states = [self._blank(layer, above) for layer in self.blocks]
        for row in range(self.height):
            own = positions[:, row * self.columns : (row + 1) * self.columns]
            from_above = self._row_above(above, own, vector, states)
            above = self._draw_row(drawing, row, own, from_above, vector)
        return sum(state.nbytes for state in states)

    def _row_above(self, above, positions, vector, states) -> list[Tensor]:
        """The first stack's outputs for a row, of each layer; the states go on to the next row."""
        v, outputs = above + positions[:, None], []
        for number, layer in enumerate(self.blocks):
            a, v, states[number] = layer.rows(v, states[number], vector)
            outputs.append(a[:, 0])
        return outputs

    def _draw_row(self, drawing, row, positions, from_above, vector) -> Float[Tensor, "R 1 W E"]:
        """Draws a row; returns the embeddings of its codes."""
        left = [vector.new_zeros(len(vector), layer.reach - 1, vector.shape[1]) for layer in self.blocks]
        x, embedded = torch.zeros_like(vector), []
        for column in range(self.columns):
            place = row * self.columns + column
            h = (x + positions[:, column])[:, None]
            for number, layer in enumerate(self.blocks):
                h, left[number] = layer.columns(h, left[number], from_above[number][:, column, None], vector)
            x = self._draw_place(drawing, place, h)
            embedded.append(x)
        return torch.stack(embedded, 1)[:, None]

    def _draw_place(self, drawing, place, y) -> Float[Tensor, "R E"]:
        """Draws the codes of a position, one codebook after another; returns the sum of their embeddings."""
        total = 0
        for slot in range(place * len(self.alphabet.sizes), (place + 1) * len(self.alphabet.sizes)):
            if slot >= drawing.first:
                logits, noise = self.outputs(y, slot)[:, 0], drawing.uniform[:, slot]
                drawing.fill(slot, drawing.drawn(self.code_head, logits, slot, slot, noise))
            entry = drawing.in_rows(drawing.codes[:, slot]) + self.offset[slot]
            total = total + self.code(entry)
            if self.beside is not None:
                y = y + self.beside(entry)[:, None]
        return total


def raster_size(alphabet: Alphabet) -> tuple[int, int]:
    """Rows and columns of the slots' places.

    Errors: `UserError` unless the slots go through a whole grid in raster order, codebooks in turn.

    Example:
        >>> raster_size(Alphabet((8,), (0,) * 2, places=((0, 0), (0, 1))))
        (1, 2)
    """
    books = len(alphabet.sizes)
    if alphabet.places:
        height, width = (1 + max(axis) for axis in zip(*alphabet.places, strict=True))
        wanted = [(r, c) for r in range(height) for c in range(width) for _ in range(books)]
        in_turn = list(alphabet.codebooks) == list(range(books)) * (height * width)
        if list(alphabet.places) == wanted and in_turn:
            return height, width
    raise UserError(
        "another order than raster was given to a PixelCNN",
        "it goes over the grid row by row, and through a position's codebooks in turn",
        "leave --prior.order at raster",
    )
