"""The kernel distance between two sets of pictures, from their features."""

from __future__ import annotations

import dataclasses

import torch

from caselli.errors import UserError
from caselli.evaluate.rows import feature_rows
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class KernelDistance:
    """A kernel distance (KID) over random subsets."""

    mean: float
    deviation: float
    """Standard deviation over the subsets, as publications give it; NaN for one subset."""


def squared_mmd(real: Float[Tensor, "n F"], made: Float[Tensor, "m F"]) -> Float[Tensor, ""]:
    r"""The unbiased estimate of the squared maximum mean discrepancy under the cubic kernel.

    .. math:: \frac{\sum_{i\ne j} k(x_i,x_j)}{n(n-1)} + \frac{\sum_{i\ne j} k(y_i,y_j)}{m(m-1)}
        - \frac{2 \sum_{ij} k(x_i,y_j)}{nm}, \qquad k(x, y) = \left(\tfrac{x\cdot y}{F} + 1\right)^3

    Unbiased, so it may be below zero.

    Example:
        >>> float(squared_mmd(torch.zeros(3, 2), torch.zeros(4, 2)))
        0.0
    """
    x, y = feature_rows(real), feature_rows(made)
    return _off_diagonal_mean(_cubic(x, x)) + _off_diagonal_mean(_cubic(y, y)) - 2 * _cubic(x, y).mean()


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _off_diagonal_mean(kernel: Tensor) -> Tensor:
    n = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (n * (n - 1))


def kernel_distance(
    real: Float[Tensor, "n F"],
    made: Float[Tensor, "m F"],
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> KernelDistance:
    """The kernel distance (KID): `squared_mmd` averaged over random subsets.

    Arguments:
        real, made: features.
        subsets: how many subsets to average over.
        subset_size: pictures of each set in a subset; cut to the smaller set.
        seed: of the choice of subsets.

    Source: Bińkowski, Sutherland, Arbel, Gretton (2018), Demystifying MMD GANs.

    Example:
        >>> x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> kernel_distance(x, x + 1, subset_size=50).mean > 0.5
        True
    """
    size = min(subset_size, len(real), len(made))
    if size < 2 or subsets < 1:
        raise UserError(
            f"{len(real)} and {len(made)} pictures and {subsets} subsets were given",
            "at least 2 pictures of each kind and 1 subset were expected",
        )
    generator = torch.Generator().manual_seed(seed)
    values = torch.stack(
        [squared_mmd(_choose(real, size, generator), _choose(made, size, generator)) for _ in range(subsets)]
    )
    deviation = float(values.std()) if subsets > 1 else float("nan")
    return KernelDistance(float(values.mean()), deviation)


def _choose(features: Tensor, size: int, generator: torch.Generator) -> Tensor:
    return features[torch.randperm(len(features), generator=generator)[:size].to(features.device)]
