"""The maximum mean discrepancy."""

from __future__ import annotations

import torch
from torch import Tensor

from caselli.divergence.kernel import KERNELS, Kernel
from caselli.divergence.sample import SampleDivergence, three_means
from caselli.errors import lookup


class MMD(SampleDivergence):
    r"""The squared maximum mean discrepancy, without a factor ½ and without a root.

    .. math:: \mathrm{MMD}^2 = E k(X, X') + E k(Y, Y') - 2 E k(X, Y)

    The U-statistic leaves out pairs of a sample with itself: unbiased, and below zero about half the time
    when P = Q. The V-statistic keeps them: never negative, biased upwards by the order of 1/n.

    Arguments:
        kernel: a name in `KERNELS` or a `Kernel`.
        unbiased: the U-statistic, for which both sides need two samples; otherwise the V-statistic.

    Source: Gretton et al. 2012, A Kernel Two-Sample Test.

    Example:
        >>> MMD(unbiased=False)(torch.zeros(1, 1), torch.ones(1, 1)).value
        tensor(0.7869)
    """

    def __init__(self, kernel: str | Kernel = "gaussian", *, unbiased: bool = True) -> None:
        self.kernel = lookup(KERNELS, "kernel", kernel)() if isinstance(kernel, str) else kernel
        self.unbiased = unbiased
        self.least_samples = 2 if unbiased else 1

    def compute(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        k = self.kernel
        value = three_means(k(x, x), k(y, y), k(x, y), self.unbiased)
        return value, torch.zeros_like(value)
