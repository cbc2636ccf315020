"""The Wasserstein distance along the worst direction."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from caselli.divergence.sample import SampleDivergence
from caselli.divergence.sliced_wasserstein import random_directions
from caselli.divergence.wasserstein_1d import checked_order, transport


class MaxSlicedWasserstein(SampleDivergence):
    r"""The Wasserstein distance of projections, to the p-th power (no root), along the worst direction.

    .. math:: \max_{\|u\| = 1} W_p^p(u \cdot X, u \cdot Y)

    For a shift by δ, ‖δ‖² with p = 2. Found by ascent from several random directions and from the difference
    of means; a lower bound where the ascent stops early. The gradient is that at the direction found.

    Arguments:
        order: p, at least 1.
        directions: random starts.
        steps: of ascent.

    Source: Deshpande et al. 2019, Max-Sliced Wasserstein Distance and its Use for GANs.

    Example:
        >>> x = torch.randn(50, 2)
        >>> MaxSlicedWasserstein()(x, x + torch.tensor([3.0, 4.0])).value.round(decimals=2)
        tensor(25.)
    """

    def __init__(self, order: float = 2.0, *, directions: int = 16, steps: int = 50) -> None:
        self.order, self.directions, self.steps = checked_order(order), directions, steps

    def compute(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        u = self._direction(x.detach(), y.detach())
        value = transport(x @ u, y @ u, self.order)[0]
        return value, torch.zeros_like(value)

    def _direction(self, x: Tensor, y: Tensor) -> Tensor:
        """The best direction found, `D 1`."""
        shift = normalize(y.mean(0) - x.mean(0), dim=0)[:, None]
        u = torch.cat([random_directions(x, self.directions), shift], 1)
        best, value = u, transport(x @ u, y @ u, self.order)
        for step in range(self.steps):
            with torch.enable_grad():
                leaf = u.detach().requires_grad_()
                slope = torch.autograd.grad(transport(x @ leaf, y @ leaf, self.order).sum(), leaf)[0]
            u = normalize(u + normalize(slope, dim=0) * (1 - step / self.steps), dim=0)
            reached = transport(x @ u, y @ u, self.order)
            best, value = torch.where(reached > value, u, best), torch.maximum(reached, value)
        return best[:, value.argmax(), None]
