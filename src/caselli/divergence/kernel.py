"""Kernels for the maximum mean discrepancy."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from caselli.divergence.sample import distances
from caselli.errors import UserError

MEDIAN = "median"
"""The bandwidth that follows the samples."""


class Kernel(ABC):
    """`kernel(x, y)`: `n D`, `m D` → `n m`, positive definite."""

    @abstractmethod
    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The kernel of every pair."""

    def fitted(self, x: Tensor, y: Tensor) -> Self:
        """The kernel by which both sets are compared: itself, but for what follows the samples."""
        return self


class Radial(Kernel):
    """A kernel of the distance; the mean over several bandwidths where several are given.

    Arguments:
        bandwidths: σ, positive, one or more; or `median`: the median distance of the points at hand, for any
            scale and number of dimensions, where a fixed σ may see all points as equally far.
    """

    def __init__(self, bandwidths: float | Sequence[float] | str = 1.0) -> None:
        self.bandwidths: Sequence[float | Tensor] | None = None
        if bandwidths == MEDIAN:
            return
        found = [bandwidths] if isinstance(bandwidths, int | float) else list(bandwidths)
        if not found or not all(isinstance(s, int | float) and 0 < s < float("inf") for s in found):
            raise UserError(f"bandwidths {bandwidths} were given", "positive numbers or median were expected")
        self.bandwidths = found

    def fitted(self, x: Tensor, y: Tensor) -> Self:
        if self.bandwidths is not None:
            return self
        made, sigma = copy.copy(self), _median(x, y)
        made.bandwidths = [torch.where(sigma > 0, sigma, torch.ones_like(sigma))]
        return made

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean over the bandwidths."""
        apart, bandwidths = distances(x, y), self.fitted(x, y).bandwidths
        return torch.stack([self.profile(apart / s) for s in bandwidths]).mean(0)

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
        bandwidths: as of `Radial`.
        exponent: α, positive.
    """

    def __init__(self, bandwidths: float | Sequence[float] | str = 1.0, exponent: float = 1.0) -> None:
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
    return _median(x.flatten(1), y.flatten(1)).item()


def _median(x: Tensor, y: Tensor) -> Tensor:
    joined = torch.cat([x, y]).detach()
    apart = distances(joined, joined)
    return apart[torch.ones_like(apart, dtype=torch.bool).triu(1)].median()
