"""The common part of divergences of two sets of samples."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from caselli.divergence.base import Distance, Divergence, Need, require
from caselli.errors import UserError


class SampleDivergence(Divergence):
    """A function of samples `n *event` of P and `m *event` of Q; the events are taken flat."""

    needs = Need.TWO_SAMPLES
    symmetric = True
    least_samples = 1

    def __call__(self, x: Tensor, y: Tensor) -> Distance:
        """The divergence, a scalar; differentiable in both.

        Raises:
            UserError: not two tensors, events of different sizes, or too few samples.
        """
        require(self, x, y)
        if x.ndim < 2 or y.ndim < 2 or x.shape[1:] != y.shape[1:]:
            raise UserError(
                f"samples of shapes {tuple(x.shape)} and {tuple(y.shape)} were given",
                "n × event and m × event were expected, with the same event",
                "single numbers are samples of shape n × 1",
            )
        if x.dtype != y.dtype or not x.is_floating_point():
            raise UserError(
                f"samples of {x.dtype} and {y.dtype} were given",
                "real numbers of one type were expected",
                "convert one side, y.to(x.dtype)",
            )
        if min(len(x), len(y)) < self.least_samples:
            raise UserError(
                f"{len(x)} and {len(y)} samples were given", f"at least {self.least_samples} were expected"
            )
        value, error = self.compute(x.flatten(1), y.flatten(1))
        return Distance(value, error.detach(), "samples")

    @abstractmethod
    def compute(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Value and standard error for samples `n D` and `m D`; the error is of the method's own draws."""


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances `n m`, exact for equal points, with gradient zero there.

    Example:
        >>> distances(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
        tensor([[5.]])
    """
    wide = x.float() if torch.finfo(x.dtype).bits < 32 else x
    return torch.cdist(wide, y.to(wide.dtype), compute_mode="donot_use_mm_for_euclid_dist")


def three_means(kernel_xx: Tensor, kernel_yy: Tensor, kernel_xy: Tensor, unbiased: bool) -> Tensor:
    """mean k(x, x') + mean k(y, y') - 2 mean k(x, y); the U-statistic leaves out the diagonals."""
    return _mean(kernel_xx, unbiased) + _mean(kernel_yy, unbiased) - 2 * kernel_xy.mean()


def _mean(kernel: Tensor, unbiased: bool) -> Tensor:
    count = len(kernel)
    if unbiased:
        return (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))
    return kernel.mean()
