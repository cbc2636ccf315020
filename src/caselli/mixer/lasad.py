"""Linear attention with 2-D decay: a memory that fades by rows and columns of a grid."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.mixer.base import State
from caselli.mixer.dense import Dense
from caselli.mixer.packing import begins
from caselli.mixer.parts import RecurrentMixer, head_count, inverse_softplus, rms_normalise, split_heads
from caselli.ops import exact, gated_linear_attention, rotary, rotary_angles
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class GridState(State):
    """One matrix a head, and how many tokens of the sequence were seen."""

    matrix: Float[Tensor, "B N d v"]
    position: Int[Tensor, "B"]


class LASAD(RecurrentMixer):
    r"""Linear attention with spatial-aware decay over a grid in raster order.

    .. math::
        S_t = \mathrm{diag}(e^{g_t}) S_{t-1} + k_t v_t^\top, \quad
        g_t = \begin{cases} -a_t\, [c_t = 0] & \text{in half the channels} \\
        -b_t, \text{ and } -\infty \text{ where } c_t = 0 & \text{in the others} \end{cases}, \quad
        y_t = W_o\big(\mathrm{RMSNorm}(S_t^\top q_t / \sqrt d) \odot \mathrm{silu}(W_g x_t)\big)

    with c the column, a and b the softplus of projections, one each a head, and q and k turned by their
    column. So half the channels fade with the distance in rows alone, and see that in columns as an angle;
    the others fade with the distance in columns, and see their own row. The paper's code is not public: the
    division of the channels is Caselli's.

    Arguments:
        width: E.
        heads: N; by default one for every 64 channels; a head has a multiple of 4.
        columns: tokens of a row: columns of the grid times codebooks.
        before: tokens ahead of the grid, as of a condition.
        rotary_base: base of the angles of columns.
        chunk_size: tokens that are compared directly; rounded up to a power of two.

    Source: Mao et al. 2025, Autoregressive Image Generation with Linear Complexity: A Spatial-Aware Decay
    Perspective.

    Example:
        >>> y, state = LASAD(width=64, columns=4)(torch.zeros(2, 5, 64))
        >>> state.matrix.shape, state.position
        (torch.Size([2, 1, 64, 64]), tensor([5, 5]))
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int | None = None,
        columns: int = 16,
        before: int = 1,
        rotary_base: float = 100.0,
        chunk_size: int = 64,
    ) -> None:
        super().__init__(width, chunk_size=chunk_size)
        self.heads = head_count(width, heads)
        if width // self.heads % 4 or columns < 1 or before < 0:
            raise UserError(
                f"width {width}, {self.heads} heads, {columns} columns and {before} tokens before were given",
                "a multiple of 4 channels a head, at least 1 column and no negative number were expected",
            )
        self.columns, self.before, self.rotary_base = columns, before, rotary_base
        self.input = Dense(width, 3 * width, bias=False)
        self.decay = Dense(width, 2 * self.heads)
        with torch.no_grad():  # from a fifth of a row, or of a column, to all of them is kept
            self.decay.bias.copy_(inverse_softplus(torch.linspace(0.02, 1.6, self.heads).repeat(2)))
        self.gate = Dense(width, width, bias=False)
        self.norm = nn.Parameter(torch.ones(width // self.heads))
        self.output = Dense(width, width, bias=False)

    @classmethod
    def of_state(cls, width, numbers, **options):
        return super().of_state(width, max(numbers, 4 * width), **options)

    def initial_state(self, batch: int, capacity: int | None = None) -> GridState:
        head = self.width // self.heads
        matrix = self.zeros(batch, self.heads, head, head)
        return GridState(matrix, torch.zeros(batch, dtype=torch.int64, device=matrix.device))

    def mix(self, x, state, starts, size):
        length = x.shape[1]
        position = torch.arange(length, device=x.device) - begins(starts, -state.position, 0, length)
        column = (position - self.before) % self.columns
        angles = rotary_angles(column.to(exact(x).dtype), self.width // self.heads, self.rotary_base)
        q, k, v = (split_heads(part, self.heads) for part in self.input(x).chunk(3, -1))
        q, k = (rotary(part, angles[:, :, None]) for part in (q, k))
        y, matrix = gated_linear_attention(
            q * q.shape[-1] ** -0.5,
            k,
            v,
            state.matrix,
            log_decay=self._log_decay(x, (column == 0)[..., None]),
            starts=starts,
            chunk_size=size,
        )
        y = (rms_normalise(y) * self.norm).flatten(2) * F.silu(self.gate(x))
        return self.output(y), GridState(matrix, position[:, -1] + 1)

    def _log_decay(self, x: Tensor, new_row: Tensor) -> Float[Tensor, "B T N d"]:
        """Pairs of channels that are turned together, i and i + d/2, fade together."""
        rows, columns = (-F.softplus(exact(self.decay(x)))).chunk(2, -1)
        fades = torch.stack((rows * new_row, columns.masked_fill(new_row, -torch.inf)), -1)
        quarter = self.width // self.heads // 4
        return fades.repeat_interleave(quarter, -1).repeat(1, 1, 1, 2)
