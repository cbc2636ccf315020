"""Precision and recall of a set of pictures, from nearest neighbours among features."""

from __future__ import annotations

import dataclasses

import torch

from caselli.errors import UserError
from caselli.evaluate.rows import feature_rows
from caselli.shapes import Float, Tensor

ROWS = 256
"""Rows of a distance matrix held at a time."""


@dataclasses.dataclass(frozen=True)
class Manifold:
    """Cover of two sets by each other, by nearest neighbours; each figure 0 to 1, `density` may exceed 1."""

    precision: float
    """The share of made pictures that lie in the neighbourhood of a real one: are they plausible?"""
    recall: float
    """The share of real pictures that lie in the neighbourhood of a made one: is everything made?"""
    density: float
    """Number of real neighbourhoods that a made picture lies in, over k: precision, robust to outliers."""
    coverage: float
    """The share of real pictures whose neighbourhood holds a made one: recall, robust to outliers."""


def manifold(real: Float[Tensor, "n F"], made: Float[Tensor, "m F"], neighbours: int = 3) -> Manifold:
    r"""Precision and recall, density and coverage of made pictures, from k-nearest-neighbour balls.

    .. math:: \mathrm{precision} = \tfrac1m \sum_j 1[\exists i: \lVert y_j - x_i\rVert \le r_k(x_i)]

    with r_k(x) the distance from x to its k-th nearest other picture of the same set; recall exchanges the
    sets.

    Arguments:
        real, made: features.
        neighbours: k, below the number of pictures in either set.

    Source: Kynkäänniemi, Karras, Laine, Lehtinen, Aila (2019), Improved precision and recall metric for
    assessing generative models; Naeem, Oh, Uh, Choi, Yoo (2020), Reliable fidelity and diversity metrics for
    generative models.

    Example:
        >>> x = torch.arange(8.0)[:, None]
        >>> manifold(x, x + 100)
        Manifold(precision=0.0, recall=0.0, density=0.0, coverage=0.0)
    """
    real, made = feature_rows(real), feature_rows(made)
    if not 0 < neighbours < min(len(real), len(made)):
        raise UserError(
            f"{neighbours} neighbours among {len(real)} real and {len(made)} made pictures were given",
            "a number from 1 to one less than the pictures of either set was expected",
        )
    real_radius, made_radius = _radii(real, neighbours), _radii(made, neighbours)
    in_real = torch.zeros(len(made), dtype=torch.int64, device=made.device)
    recalled, covered = [], []
    for x, radius in zip(real.split(ROWS), real_radius.split(ROWS), strict=True):
        distances = _distances(x, made)
        inside = distances <= radius[:, None]
        in_real += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append((distances <= made_radius).any(1))
    share = [float(torch.cat(part).double().mean()) for part in (recalled, covered)]
    density = float(in_real.double().mean()) / neighbours
    return Manifold(float((in_real > 0).double().mean()), share[0], density, share[1])


def _radii(features: Tensor, neighbours: int) -> Tensor:
    """The distance to the k-th nearest other: itself, at distance zero, is the first."""
    parts = [_distances(x, features).kthvalue(neighbours + 1, 1).values for x in features.split(ROWS)]
    return torch.cat(parts)


def _distances(x: Tensor, y: Tensor) -> Tensor:
    # by matrix products; float64 leaves the distance of a picture to itself well below any other
    return torch.cdist(x, y)
