"""The energy distance."""

from __future__ import annotations

import torch
from torch import Tensor

from caselli.divergence.sample import SampleDivergence, distances, three_means


class Energy(SampleDivergence):
    r"""The energy distance, without a factor ½ and without a root.

    .. math:: D^2 = 2 E \|X - Y\| - E \|X - X'\| - E \|Y - Y'\|

    It is the squared maximum mean discrepancy of the kernel −‖x − y‖.

    Arguments:
        unbiased: the U-statistic, for which both sides need two samples and which may be negative; otherwise
            the V-statistic.

    Source: Székely and Rizzo 2013, Energy Statistics.

    Example:
        >>> Energy(unbiased=False)(torch.zeros(1, 1), torch.ones(1, 1)).value
        tensor(2.)
    """

    def __init__(self, *, unbiased: bool = False) -> None:
        self.unbiased = unbiased
        self.least_samples = 2 if unbiased else 1

    def compute(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        value = -three_means(distances(x, x), distances(y, y), distances(x, y), self.unbiased)
        return value, torch.zeros_like(value)
