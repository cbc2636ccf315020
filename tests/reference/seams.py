"""How far the places where pieces of a picture meet stand out."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from caselli.errors import UserError
from caselli.shapes import Float, Tensor


def seam_ratio(
    pictures: Float[Tensor, "B C H W"], rows: Sequence[int], columns: Sequence[int], period: int = 1
) -> float:
    r"""The mean step across borders over the mean step elsewhere; 1 where no border shows.

    .. math:: \frac{\mathrm{mean}_{p \in S}\, |x_p - x_{p-1}|}{\mathrm{mean}_{p \notin S}\, |x_p - x_{p-1}|}

    over lines p of both axes. With a period only lines that lie like the borders within it count as
    elsewhere, such as other borders of codes: a decoder's own pattern is then no seam.

    Arguments:
        pictures: of any range.
        rows, columns: S, the first line behind each border, along either axis; 1 or more.
        period: pixels.

    Errors: `UserError` where there is no border, or nothing elsewhere.

    Example:
        >>> ramp = torch.arange(6.0).expand(1, 1, 6, 6).clone()
        >>> seam_ratio(ramp, [], [3])
        1.0
        >>> ramp[..., 3:] += 4
        >>> seam_ratio(ramp, [], [3])
        5.0
    """
    across, elsewhere = [], []
    for lines, axis in ((rows, 2), (columns, 3)):
        borders = {line for line in lines if 0 < line < pictures.shape[axis]}
        steps = pictures.double().diff(dim=axis).abs().mean([a for a in range(4) if a != axis])
        phases = {line % period for line in borders}
        across += [steps[line - 1] for line in borders]
        elsewhere += [
            step for line, step in enumerate(steps, 1) if line not in borders and line % period in phases
        ]
    if not across or not elsewhere:
        raise UserError(
            f"{len(across)} borders and {len(elsewhere)} lines elsewhere were given",
            "at least one of each was expected",
        )
    return float(torch.stack(across).mean() / torch.stack(elsewhere).mean())
