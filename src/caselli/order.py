"""Codes ⟷ sequence, exactly invertible: the order in which a grid of codes is read. Variants: `ORDERS`."""

from __future__ import annotations

import dataclasses
import fractions
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch

from caselli.errors import UserError
from caselli.shapes import Int, Num, Tensor

MOST_TABLES = 128
"""Largest number of tables of slots that are kept."""
_tables: dict[tuple, Tensor] = {}


@dataclasses.dataclass(frozen=True)
class Grid:
    """The shape of one picture's codes: `H W` with one codebook, `Q H W` with several.

    Arguments:
        height: H, rows; 1 where the codes lie on one axis.
        width: W, columns.
        codebooks: Q, codes at each position.
        flat: True where the codes lie on one axis: their shape is `W` or `Q W`, without H.

    Example:
        >>> Grid(4, 6).shape, Grid(4, 6, codebooks=2).shape, Grid(4, 6, codebooks=2).length
        ((4, 6), (2, 4, 6), 48)
        >>> Grid(1, 6, codebooks=2, flat=True).shape
        (2, 6)
    """

    height: int
    width: int
    codebooks: int = 1
    flat: bool = False

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.codebooks) < 1:
            raise UserError(f"{self} was given", "at least 1 of each was expected")
        if self.flat and self.height > 1:
            raise UserError(f"{self} was given", "height 1 was expected of codes on one axis")

    @property
    def positions(self) -> int:
        """H · W."""
        return self.height * self.width

    @property
    def length(self) -> int:
        """T = Q · H · W, slots of the sequence."""
        return self.codebooks * self.positions

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the codes, without the batch."""
        space = (self.width,) if self.flat else (self.height, self.width)
        return space if self.codebooks == 1 else (self.codebooks, *space)


@dataclasses.dataclass(frozen=True)
class Order(ABC):
    """A one-to-one map between the codes of a grid and the slots of a sequence.

    An order extends this class, is final, is built from keyword options alone, and gives `slots`.

    Example:
        >>> order, grid = Serpentine(), Grid(2, 3)
        >>> sequence = order.flatten(torch.tensor([[[0, 1, 2], [3, 4, 5]]]), grid)
        >>> sequence, order.restore(sequence, grid)
        (tensor([[0, 1, 2, 5, 4, 3]]), tensor([[[0, 1, 2],
                 [3, 4, 5]]]))
    """

    @abstractmethod
    def slots(self, grid: Grid) -> Int[Tensor, "T"]:
        """Index of the code that each slot holds, q·H·W + row·W + column."""

    def flatten(self, codes: Num[Tensor, "B *grid"], grid: Grid) -> Num[Tensor, "B T"]:
        """Lays codes `B H W` (`B Q H W` with several codebooks) out as a sequence.

        Errors: `UserError` where the codes' shape is not the grid's.
        """
        _expect(codes, grid.shape, "codes")
        return codes.flatten(1)[:, _slots(self, grid, codes.device)]

    def restore(self, sequence: Num[Tensor, "B T"], grid: Grid) -> Num[Tensor, "B *grid"]:
        """The exact inverse of `flatten`; of any dtype, so that log-probabilities are laid out as a map too.

        Errors: `UserError` where the sequence has not one slot for each code.
        """
        _expect(sequence, (grid.length,), "a sequence")
        return sequence[:, _places(self, grid, sequence.device)].unflatten(1, grid.shape)

    def length(self, grid: Grid) -> int:
        """T."""
        return grid.length

    def codebook(self, grid: Grid) -> Int[Tensor, "T"]:
        """Codebook of each slot, 0 … Q−1."""
        return self.slots(grid) // grid.positions

    def position(self, grid: Grid) -> Int[Tensor, "T 2"]:
        """The row and the column of each slot."""
        place = self.slots(grid) % grid.positions
        return torch.stack((place // grid.width, place % grid.width), 1)


def _expect(given: Tensor, shape: tuple[int, ...], what: str) -> None:
    if tuple(given.shape[1:]) != shape:
        raise UserError(
            f"{what} of shape {tuple(given.shape)} was given", f"a batch of shape {shape} was expected"
        )


def _slots(order: Order, grid: Grid, device: torch.device) -> Tensor:
    return _kept(order, grid, device, "slots", lambda slots: slots)


def _places(order: Order, grid: Grid, device: torch.device) -> Tensor:
    return _kept(order, grid, device, "places", torch.argsort)


def _kept(
    order: Order, grid: Grid, device: torch.device, what: str, of_slots: Callable[[Tensor], Tensor]
) -> Tensor:
    """Tensors made of an order's slots, once for each grid and device."""
    key = order, grid, device, what
    if key not in _tables:
        made = of_slots(order.slots(grid)).to(device)
        if type(made) is not torch.Tensor:  # a shape alone, while a plan is made: there is nothing to keep
            return made
        if len(_tables) >= MOST_TABLES:
            del _tables[next(iter(_tables))]
        _tables[key] = made
    return _tables[key]


def _interleaved(path: Tensor, grid: Grid) -> Tensor:
    """All codebooks of a position, then the next position of the path."""
    return (path[:, None] + grid.positions * torch.arange(grid.codebooks)).flatten()


class Raster(Order):
    """Row by row, left to right; all codebooks of a position before the next.

    Example:
        >>> Raster().slots(Grid(2, 2)).tolist()
        [0, 1, 2, 3]
    """

    def slots(self, grid):
        return _interleaved(torch.arange(grid.positions), grid)


class Serpentine(Order):
    """Row by row, every second row from right to left, so that neighbours in the sequence touch in the grid.

    Example:
        >>> Serpentine().slots(Grid(2, 3)).tolist()
        [0, 1, 2, 5, 4, 3]
    """

    def slots(self, grid):
        rows = torch.arange(grid.positions).view(grid.height, grid.width)
        rows[1::2] = rows[1::2].flip(1)
        return _interleaved(rows.flatten(), grid)


class Hilbert(Order):
    """Along a Hilbert curve, for a grid of any size: neighbours in the sequence are near in the grid.

    The rectangle is cut in two along a long side, or into three as the Hilbert curve cuts a square, and each
    part is walked in the same way. Neighbours touch; where the longer side is odd and the shorter even, one
    step of the whole path goes over a corner.

    Sources: Hilbert 1891, Ueber die stetige Abbildung einer Linie auf ein Flächenstück; generalised to
    rectangles after Červený 2018, Generalized Hilbert space-filling curve.

    Example:
        >>> Hilbert().slots(Grid(2, 2)).tolist()
        [0, 2, 3, 1]
    """

    def slots(self, grid):
        wide = grid.width >= grid.height
        long, short = (1, grid.width), (1j, grid.height)
        points = _walk(0, *long, *short) if wide else _walk(0, *short, *long)
        path = [round(point.imag) * grid.width + round(point.real) for point in points]
        return _interleaved(torch.tensor(path), grid)


def _walk(corner: complex, along: complex, length: int, across: complex, breadth: int) -> Iterator[complex]:
    """The cells (column + i · row) of a rectangle, from its corner to the far end of its side `along`."""
    if breadth == 1:
        yield from (corner + along * i for i in range(length))
    elif length == 1:
        yield from (corner + across * i for i in range(breadth))
    elif 2 * length > 3 * breadth:
        half = _even_half(length)
        yield from _walk(corner, along, half, across, breadth)
        yield from _walk(corner + along * half, along, length - half, across, breadth)
    else:
        half, rise = length // 2, _even_half(breadth)
        end = corner + along * (length - 1) + across * (rise - 1)
        yield from _walk(corner, across, rise, along, half)
        yield from _walk(corner + across * rise, along, length, across, breadth - rise)
        yield from _walk(end, -across, rise, -along, length - half)


def _even_half(length: int) -> int:
    """Half of the length, made even where it can be: a path through an even part ends beside the next."""
    half = length // 2
    return half + half % 2 if length > 2 else half


@dataclasses.dataclass(frozen=True)
class Delayed(Order):
    r"""Codebook q runs `delay` · q positions behind codebook 0, positions in raster order.

    Slot by slot the codes (p, q) are sorted by the time

    .. math:: \text{time}(p, q) = p + \text{delay} \cdot q

    and at equal times by q. The staggered grid that parallel heads would fill with padding is read without
    its empty corners: the sequence keeps T = Q·H·W slots and the inverse is exact. With `delay` 0 this is
    `Raster`; with at least H·W it reads one codebook after the other.

    Arguments:
        delay: positions between a codebook and the next, at least 0.

    Source: Copet et al. 2023, Simple and Controllable Music Generation.

    Example:
        >>> Delayed().codebook(Grid(1, 3, codebooks=2)).tolist()
        [0, 0, 1, 0, 1, 1]
    """

    delay: int = 1

    def __post_init__(self) -> None:
        if self.delay < 0:
            raise UserError(f"delay {self.delay} was given", "at least 0 was expected")

    def slots(self, grid):
        place, codebook = torch.arange(grid.positions), torch.arange(grid.codebooks)
        time = place + self.delay * codebook[:, None]
        return (time * grid.codebooks + codebook[:, None]).flatten().argsort()


class Halton(Order):
    """Places in the order of the Halton sequence: any first n of them are spread evenly over the grid.

    Source: Besnier et al. 2025, Halton Scheduler for Masked Generative Image Transformer.

    Example:
        >>> Halton().slots(Grid(2, 3)).tolist()
        [0, 4, 2, 3, 1, 5]
    """

    def slots(self, grid):
        return _interleaved(torch.tensor(_halton_path(grid.height, grid.width)), grid)


def halton_numbers(places: Sequence[tuple[int, int]]) -> Int[Tensor, "T"]:
    """Number of each slot in the Halton sequence over the grid; codebooks of a place follow each other.

    Arguments:
        places: row and column of each slot.

    Example:
        >>> halton_numbers([(0, 0), (0, 1), (1, 0), (1, 1)])
        tensor([0, 2, 1, 3])
    """
    height, width = (max(side) + 1 for side in zip(*places, strict=True))
    number = {cell: number for number, cell in enumerate(_halton_path(height, width))}
    path = sorted(range(len(places)), key=lambda slot: number[places[slot][0] * width + places[slot][1]])
    return torch.tensor(sorted(range(len(path)), key=path.__getitem__))


def _halton_path(height: int, width: int) -> list[int]:
    """Cells, row · width + column, as the points of bases 2 (rows) and 3 (columns) first come to them."""
    path: dict[int, None] = {}
    index = 0
    while len(path) < height * width:
        row, column = _radical_inverse(index, 2), _radical_inverse(index, 3)
        path.setdefault(int(row * height) * width + int(column * width))
        index += 1
    return list(path)


def _radical_inverse(index: int, base: int) -> fractions.Fraction:
    """The digits of a number behind the point, in turned order."""
    value, unit = fractions.Fraction(0), fractions.Fraction(1, base)
    while index:
        index, digit = divmod(index, base)
        value, unit = value + digit * unit, unit / base
    return value


ORDERS: dict[str, type[Order]] = {
    "raster": Raster,
    "serpentine": Serpentine,
    "hilbert": Hilbert,
    "delayed": Delayed,
    "halton": Halton,
}

__all__ = [
    "ORDERS",
    "Delayed",
    "Grid",
    "Halton",
    "Hilbert",
    "Order",
    "Raster",
    "Serpentine",
    "halton_numbers",
]
