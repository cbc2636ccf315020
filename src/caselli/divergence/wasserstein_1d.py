"""The Wasserstein distance in one dimension."""

from __future__ import annotations

import torch
from torch import Tensor

from caselli.divergence.sample import SampleDivergence
from caselli.errors import UserError


class Wasserstein1D(SampleDivergence):
    r"""The exact Wasserstein distance of one-dimensional samples, to the p-th power (no root).

    .. math:: W_p^p = \int_0^1 |F_P^{-1}(u) - F_Q^{-1}(u)|^p \, du

    Of any two numbers of samples.

    Arguments:
        order: p, at least 1: W1 for 1, W2² for 2.

    Source: Villani 2003, Topics in Optimal Transportation.

    Example:
        >>> Wasserstein1D(2)(torch.zeros(3, 1), torch.full((2, 1), 2.0)).value
        tensor(4.)
    """

    def __init__(self, order: float = 1.0) -> None:
        self.order = checked_order(order)

    def compute(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[1] != 1:
            raise UserError(
                f"samples of {x.shape[1]} dimensions were given",
                "one dimension was expected",
                "for more: sliced_wasserstein, max_sliced_wasserstein, sinkhorn",
            )
        value = transport(x, y, self.order)[0]
        return value, torch.zeros_like(value)


def checked_order(order: float) -> float:
    """The order of a Wasserstein distance, or a `UserError` below 1."""
    if order < 1:
        raise UserError(f"order {order} was given", "at least 1 was expected")
    return order


def transport(x: Tensor, y: Tensor, order: float) -> Tensor:
    """W_p^p of every column of samples `n C` and `m C`: `C`.

    Both quantile functions are steps; between two neighbouring steps of either both are constant.
    """
    n, m = len(x), len(y)
    if n == m:
        return (x.sort(0).values - y.sort(0).values).abs().pow(order).mean(0)
    steps = torch.arange(1, n + 1, device=x.device) * m, torch.arange(1, m + 1, device=x.device) * n
    levels = torch.cat(steps).unique()  # in units of 1 / nm, so that equal levels are equal
    width = torch.diff(levels, prepend=levels.new_zeros(1)).to(x.dtype)[:, None] / (n * m)
    gaps = x.sort(0).values[(levels - 1) // m] - y.sort(0).values[(levels - 1) // n]
    return (gaps.abs().pow(order) * width).sum(0)
