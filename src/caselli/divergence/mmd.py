"""The maximum mean discrepancy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from caselli.divergence.kernel import KERNELS, MEDIAN, Kernel, Radial
from caselli.divergence.sample import SampleDivergence, three_means
from caselli.errors import UserError, lookup


class MMD(SampleDivergence):
    r"""The squared maximum mean discrepancy, without a factor ½ and without a root.

    .. math:: \mathrm{MMD}^2 = E k(X, X') + E k(Y, Y') - 2 E k(X, Y)

    The U-statistic leaves out pairs of a sample with itself: unbiased, and below zero about half the time
    when P = Q. The V-statistic keeps them: never negative, biased upwards by the order of 1/n.

    Arguments:
        kernel: a name in `KERNELS` or a `Kernel`.
        bandwidths: σ of a named kernel of the distance (1): one or more numbers, or `median`, the median
            distance of all samples, taken as a constant in gradients.
        unbiased: the U-statistic, for which both sides need two samples; otherwise the V-statistic.

    Source: Gretton et al. 2012, A Kernel Two-Sample Test.

    Example:
        >>> MMD(unbiased=False)(torch.zeros(1, 1), torch.ones(1, 1)).value
        tensor(0.7869)
    """

    def __init__(
        self,
        kernel: str | Kernel = "gaussian",
        *,
        bandwidths: float | Sequence[float] | str | None = None,
        unbiased: bool = True,
    ) -> None:
        if bandwidths is not None and not _has_bandwidths(kernel):
            raise UserError(
                f"bandwidths {bandwidths} were given with the kernel {kernel}",
                "the name of a kernel of the distance was expected",
                "leave them out",
            )
        given = [] if bandwidths is None else [bandwidths]
        self.kernel = lookup(KERNELS, "kernel", kernel)(*given) if isinstance(kernel, str) else kernel
        self.unbiased = unbiased
        self.least_samples = 2 if unbiased else 1

    @classmethod
    def of_any_scale(cls, kernel: str | Kernel = "gaussian", **options: Any) -> MMD:
        """One whose bandwidth is the median distance, unless another is given."""
        return cls(kernel, **({"bandwidths": MEDIAN} if _has_bandwidths(kernel) else {}) | options)

    def compute(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        k = self.kernel.fitted(x, y)
        value = three_means(k(x, x), k(y, y), k(x, y), self.unbiased)
        return value, torch.zeros_like(value)


def _has_bandwidths(kernel: str | Kernel) -> bool:
    return isinstance(kernel, str) and issubclass(lookup(KERNELS, "kernel", kernel), Radial)
