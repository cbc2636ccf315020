"""Kernels for the maximum mean discrepancy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from caselli.divergence.sample import distances
from caselli.errors import UserError


class Kernel(ABC):
    """`kernel(x, y)`: `n D`, `m D` → `n m`, positive definite."""

    @abstractmethod
    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The kernel of every pair."""


class Radial(Kernel):
    """A kernel of the distance; the mean over several bandwidths where several are given.

    Arguments:
        bandwidths: σ, positive; one or more.
    """

    def __init__(self, bandwidths: float | Sequence[float] = 1.0) -> None:
        found = [bandwidths] if isinstance(bandwidths, int | float) else list(bandwidths)
        if not found or not all(0 < s < float("inf") for s in found):
            raise UserError(f"bandwidths {found} were given", "positive numbers were expected")
        self.bandwidths = found

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean over the bandwidths."""
        apart = distances(x, y)
        return torch.stack([self.profile(apart / s) for s in self.bandwidths]).mean(0)

    @abstractmethod
    def profile(self, r: Tensor) -> Tensor:
        """The kernel at distance r, in bandwidths."""


class Gaussian(Radial):
    r""":math:`\exp(-\|x-y\|^2 / 2σ^2)`.

    Example:
        >>> Gaussian()(torch.zeros(1, 1), torch.ones(1, 1))
        tensor([[0.6065]])
    """

    def profile(self, r: Tensor) -> Tensor:
        return torch.exp(-r.square() / 2)


class Laplacian(Radial):
    r""":math:`\exp(-\|x-y\| / σ)`, with the Euclidean distance."""

    def profile(self, r: Tensor) -> Tensor:
        return torch.exp(-r)


class RationalQuadratic(Radial):
    r""":math:`(1 + \|x-y\|^2 / 2ασ^2)^{-α}`, a mixture of Gaussian kernels of all bandwidths.

    Arguments:
        bandwidths: σ, positive; one or more.
        exponent: α, positive.
    """

    def __init__(self, bandwidths: float | Sequence[float] = 1.0, exponent: float = 1.0) -> None:
        super().__init__(bandwidths)
        self.exponent = exponent

    def profile(self, r: Tensor) -> Tensor:
        return (1 + r.square() / (2 * self.exponent)) ** -self.exponent


class InverseMultiquadric(Radial):
    r""":math:`(1 + \|x-y\|^2 / σ^2)^{-1/2}`, heavy in its tails."""

    def profile(self, r: Tensor) -> Tensor:
        return (1 + r.square()).rsqrt()


class Polynomial(Kernel):
    r""":math:`(x \cdot y / D + 1)^k`; with k = 3 the kernel inception distance's.

    Arguments:
        degree: k.
    """

    def __init__(self, degree: int = 3) -> None:
        self.degree = degree

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The kernel of every pair."""
        return (x @ y.T / x.shape[1] + 1) ** self.degree


class Linear(Kernel):
    """x · y: compares the means only."""

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The kernel of every pair."""
        return x @ y.T


KERNELS: dict[str, type[Kernel]] = {
    "gaussian": Gaussian,
    "laplacian": Laplacian,
    "rational_quadratic": RationalQuadratic,
    "inverse_multiquadric": InverseMultiquadric,
    "polynomial": Polynomial,
    "linear": Linear,
}
"""The kernels by name."""


def median_bandwidth(x: Tensor, y: Tensor) -> float:
    """The median distance between different points of both sets together, a usual bandwidth.

    Example:
        >>> median_bandwidth(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0]]))
        2.0
    """
    joined = torch.cat([x.flatten(1), y.flatten(1)]).detach()
    apart = distances(joined, joined)
    above = apart[torch.ones_like(apart, dtype=torch.bool).triu(1)]
    return above.median().item()
