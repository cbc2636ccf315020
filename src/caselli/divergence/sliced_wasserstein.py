"""The mean Wasserstein distance over directions."""

from __future__ import annotations

import torch
from torch import Tensor

from caselli.divergence.sample import SampleDivergence
from caselli.divergence.wasserstein_1d import checked_order, transport


class SlicedWasserstein(SampleDivergence):
    r"""The Wasserstein distance of projections, to the p-th power (no root), averaged over directions.

    .. math:: SW_p^p = E_{u \sim S^{D-1}} \, W_p^p(u \cdot X, u \cdot Y)

    For a shift by δ, SW2² = ‖δ‖²/D. The standard error is that of the directions.

    Arguments:
        order: p, at least 1.
        directions: how many are drawn.

    Source: Rabin et al. 2012, Wasserstein Barycenter and its Application to Texture Mixing; Bonneel et al.
    2015.

    Example:
        >>> x = torch.randn(50, 2)
        >>> SlicedWasserstein()(x, x).value
        tensor(0.)
    """

    def __init__(self, order: float = 2.0, *, directions: int = 128) -> None:
        self.order, self.directions = checked_order(order), directions

    def compute(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        u = random_directions(x, self.directions)
        slices = transport(x @ u, y @ u, self.order)
        error = slices.std() / len(slices) ** 0.5 if len(slices) > 1 else torch.zeros_like(slices[0])
        return slices.mean(), error


def random_directions(like: Tensor, count: int) -> Tensor:
    """Unit vectors, uniform on the sphere: `D count`."""
    u = torch.randn(like.shape[1], count, dtype=like.dtype, device=like.device)
    return torch.nn.functional.normalize(u, dim=0)
