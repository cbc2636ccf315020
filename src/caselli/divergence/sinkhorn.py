"""The debiased Sinkhorn divergence."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from caselli.divergence.sample import SampleDivergence, distances
from caselli.errors import UserError

AVERAGED = 40
"""Rounds that halve the error where the sides are equal: down to rounding."""


class Sinkhorn(SampleDivergence):
    r"""The debiased entropic transport cost, with cost ‖x − y‖ᵖ (no factor ½, no root).

    .. math:: S_\epsilon = OT_\epsilon(P, Q) - \tfrac12 OT_\epsilon(P, P) - \tfrac12 OT_\epsilon(Q, Q), \quad
              OT_\epsilon = \min_\pi \int \|x - y\|^p d\pi + \epsilon\, \mathrm{KL}(\pi \| P \otimes Q)

    Exactly zero for identical samples; for p = 2 and samples shifted by δ, ‖δ‖² for every ε. ε → 0 gives
    W_p^p, ε → ∞ half the energy distance for p = 1. In log domain, ε lowered by steps from the largest cost;
    the gradient is that of the cost under the plan found (the envelope theorem), so iterations keep no graph.

    Arguments:
        epsilon: ε > 0, in units of the cost.
        order: p, 1 or 2.
        iterations: the most at the final ε.
        tolerance: stop when the potentials move by less, relative to the largest cost.

    Sources: Cuturi 2013, Sinkhorn Distances; Feydy et al. 2019, Interpolating between Optimal Transport and
    MMD using Sinkhorn Divergences.

    Example:
        >>> x = torch.randn(20, 2, dtype=torch.float64)
        >>> Sinkhorn(0.5)(x, x + torch.tensor([3.0, 4.0])).value.round(decimals=4)
        tensor(25., dtype=torch.float64)
    """

    def __init__(
        self, epsilon: float = 0.05, *, order: int = 2, iterations: int = 1000, tolerance: float = 1e-7
    ) -> None:
        if not epsilon > 0:
            raise UserError(
                f"epsilon {epsilon} was given",
                "a positive number was expected",
                "the limit 0 is wasserstein_1d in one dimension",
            )
        if order not in (1, 2):
            raise UserError(f"order {order} was given", "1 or 2 was expected")
        self.epsilon, self.order, self.iterations, self.tolerance = epsilon, order, iterations, tolerance

    def compute(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if not (x.isfinite().all() and y.isfinite().all()):
            raise UserError(
                "samples with infinite or undefined values were given", "finite numbers were expected"
            )
        value = self._transport(x, y) - (self._transport(x, x) + self._transport(y, y)) / 2
        return value, torch.zeros_like(value)

    def _transport(self, x: Tensor, y: Tensor) -> Tensor:
        """OT_ε: the dual value, with the gradient of the cost under its plan."""
        cost = distances(x, y) ** self.order
        with torch.no_grad():
            f, g = self._potentials(cost)
            log_plan = (f[:, None] + g - cost) / self.epsilon - math.log(cost.numel())
            plan = log_plan.exp()
            dual = f.mean() + g.mean() - self.epsilon * (plan.sum() - 1)
        return dual + (plan * (cost - cost.detach())).sum()

    def _potentials(self, cost: Tensor) -> tuple[Tensor, Tensor]:
        """f `n` and g `m`, to the tolerance.

        Averaged rounds first: they keep equal sides equal, and for such sides converge at once. Then rounds
        in turn, which are four times faster where the sides differ.
        """
        largest = max(cost.max().item(), 1e-30)
        precision = max(self.tolerance, 10 * torch.finfo(cost.dtype).eps) * largest
        f, g = cost.new_zeros(len(cost)), cost.new_zeros(cost.shape[1])
        for epsilon in [*self._annealing(largest), *[self.epsilon] * AVERAGED]:
            f, g = (f + _best(g, cost, epsilon)) / 2, (g + _best(f, cost.T, epsilon)) / 2
        for _ in range(self.iterations):
            g = _best(f, cost.T, self.epsilon)
            old, f = f, _best(g, cost, self.epsilon)
            if (f - old).abs().max() < precision:
                break
        return f, g

    def _annealing(self, largest: float) -> list[float]:
        """Temperatures from the largest cost down to ε, each half of the one before."""
        count = max(0, math.ceil(math.log2(largest / self.epsilon)))
        return [largest / 2**k for k in range(count)]


def _best(potential: Tensor, cost: Tensor, epsilon: float) -> Tensor:
    """The best potential of the rows `n` for one of the columns `m`."""
    return -epsilon * (((potential - cost) / epsilon).logsumexp(1) - math.log(len(potential)))
