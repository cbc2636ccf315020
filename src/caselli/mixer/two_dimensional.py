"""Row and column scans over a grid of codes."""

from __future__ import annotations

from caselli.errors import UserError
from caselli.mixer.base import Mixer
from caselli.mixer.bidirectional import TwoMixers
from caselli.order import Grid
from caselli.shapes import Float, Tensor


class TwoDimensional(TwoMixers):
    r"""One mixer along each row of a grid, another along each column.

    .. math:: y_{rc} = m_1(x_{r\,\cdot})_c + m_2(x_{\cdot\, c})_r

    The tokens are the grid's in raster order, all codebooks of a position in turn; with several codebooks a
    row has W·Q tokens and a column H·Q. It sees the whole grid at once, so it has no state: with mixers that
    see both ways (`Bidirectional`, or `causal=False`) two layers connect all positions; with causal ones no
    token sees what is behind it in raster order. Rows of T = n·H·W·Q tokens are n grids, kept apart.

    Arguments:
        grid: the grid of the codes.
        rows, columns: mixers of one width.
        combine: "sum"; or "concatenate", which joins the outputs by a linear layer.

    Sources: Graves et al. 2007, Multi-Dimensional Recurrent Neural Networks; Ho et al. 2019, Axial Attention.

    Example:
        >>> import torch
        >>> from caselli.mixer import MIXERS
        >>> rows, columns = (MIXERS["attention"](width=64, causal=False) for _ in range(2))
        >>> mixer = TwoDimensional(Grid(3, 5), rows, columns)
        >>> mixer(torch.zeros(2, 15, 64))[0].shape
        torch.Size([2, 15, 64])
    """

    def __init__(self, grid: Grid, rows: Mixer, columns: Mixer, *, combine: str = "sum") -> None:
        super().__init__(rows, columns, combine)
        self.grid = grid

    def both(self, x, starts):
        grid = self.grid
        if x.shape[1] % grid.length:
            raise UserError(
                f"{x.shape[1]} tokens were given", f"a multiple of the {grid.length} of {grid} was expected"
            )
        if starts is not None:
            raise UserError(
                "starts were given to a mixer over a grid",
                "each grid is a sequence of its own already",
                "leave starts out",
            )
        x = x.unflatten(1, (-1, grid.height, grid.width, grid.codebooks))
        rows, columns = _along(self.first, x), _along(self.second, x.transpose(2, 3)).transpose(2, 3)
        return rows.flatten(1, 4), columns.flatten(1, 4)


def _along(mixer: Mixer, x: Float[Tensor, "B n H W Q E"]) -> Float[Tensor, "B n H W Q E"]:
    """The mixer along W, codebooks in turn."""
    y, _ = mixer(x.flatten(0, 2).flatten(1, 2))
    return y.view(x.shape)
