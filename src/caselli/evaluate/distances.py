"""Distances between two sets of pictures, from their features: Fréchet, kernel, precision and recall."""

from __future__ import annotations

import dataclasses

import torch

from caselli.errors import UserError
from caselli.shapes import Float, Tensor

ROWS = 256
"""Rows of a distance matrix held at a time."""


@dataclasses.dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of features, in float64; batches join exactly.

    Example:
        >>> x = torch.randn(100, 4, dtype=torch.float64)
        >>> joined = Moments.of(x[:30]).join(Moments.of(x[30:]))
        >>> torch.allclose(joined.covariance, x.T.cov())
        True
    """

    count: int
    mean: Float[Tensor, "F"]
    scatter: Float[Tensor, "F F"]
    """Σ (x − mean)(x − mean)ᵀ."""

    @classmethod
    def of(cls, features: Float[Tensor, "n F"]) -> Moments:
        """The moments of one batch."""
        x = _matrix(features)
        mean = x.mean(0)
        return cls(len(x), mean, (x - mean).T @ (x - mean))

    def join(self, other: Moments) -> Moments:
        """The moments of both sets together.

        Source: Chan, Golub, LeVeque (1983), Algorithms for computing the sample variance.
        """
        count = self.count + other.count
        gap = other.mean - self.mean
        mean = self.mean + gap * (other.count / count)
        between = torch.outer(gap, gap) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> Float[Tensor, "F F"]:
        """The unbiased covariance (divided by count − 1)."""
        if self.count < 2:
            raise UserError(f"{self.count} picture was given", "at least 2 are needed for a covariance")
        return self.scatter / (self.count - 1)


def frechet_distance(real: Moments, made: Moments) -> float:
    r"""The Fréchet distance between two Gaussians with these moments (FID, when they are Inception's).

    .. math:: \lVert\mu_r - \mu_m\rVert^2
        + \operatorname{tr}\left(\Sigma_r + \Sigma_m - 2 (\Sigma_r^{1/2} \Sigma_m \Sigma_r^{1/2})^{1/2}\right)

    In float64, from the eigenvalues of symmetric matrices alone: no matrix square root of a product, so no
    complex numbers and no offsets when there are fewer pictures than features. Biased upwards for few
    pictures: compare only at equal counts.

    Source: Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter (2017), GANs trained by a two time-scale update
    rule converge to a local Nash equilibrium.

    Example:
        >>> x = torch.randn(200, 4, dtype=torch.float64)
        >>> round(frechet_distance(Moments.of(x), Moments.of(x + 1)), 6)
        4.0
    """
    if real.mean.shape != made.mean.shape:
        raise UserError(
            f"features of widths {len(real.mean)} and {len(made.mean)} were given",
            "the same features were expected",
        )
    root = _symmetric_root(real.covariance)
    eigenvalues = torch.linalg.eigvalsh(root @ made.covariance @ root)
    cross = eigenvalues.clamp_min(0).sqrt().sum()
    gap = (real.mean - made.mean).square().sum()
    distance = gap + real.covariance.trace() + made.covariance.trace() - 2 * cross
    return max(float(distance), 0.0)


def _symmetric_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


@dataclasses.dataclass(frozen=True)
class KernelDistance:
    """KID: its mean over subsets, and the standard error of that mean."""

    mean: float
    error: float


def squared_mmd(real: Float[Tensor, "n F"], made: Float[Tensor, "m F"]) -> Float[Tensor, ""]:
    r"""The unbiased estimate of the squared maximum mean discrepancy under the cubic kernel.

    .. math:: \frac{\sum_{i\ne j} k(x_i,x_j)}{n(n-1)} + \frac{\sum_{i\ne j} k(y_i,y_j)}{m(m-1)}
        - \frac{2 \sum_{ij} k(x_i,y_j)}{nm}, \qquad k(x, y) = \left(\tfrac{x\cdot y}{F} + 1\right)^3

    Unbiased, so it may be below zero.

    Example:
        >>> float(squared_mmd(torch.zeros(3, 2), torch.zeros(4, 2)))
        0.0
    """
    x, y = _matrix(real), _matrix(made)
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
    error = float(values.std() / subsets**0.5) if subsets > 1 else float("nan")
    return KernelDistance(float(values.mean()), error)


def _choose(features: Tensor, size: int, generator: torch.Generator) -> Tensor:
    return features[torch.randperm(len(features), generator=generator)[:size].to(features.device)]


@dataclasses.dataclass(frozen=True)
class Manifold:
    """How two sets cover each other, by nearest neighbours; each figure 0 to 1, `density` may exceed 1."""

    precision: float
    """The share of made pictures that lie in the neighbourhood of a real one: are they plausible?"""
    recall: float
    """The share of real pictures that lie in the neighbourhood of a made one: is everything made?"""
    density: float
    """How many real neighbourhoods a made picture lies in, divided by k: precision, robust to outliers."""
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
    real, made = _matrix(real), _matrix(made)
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


def _matrix(features: Tensor) -> Tensor:
    if features.ndim != 2 or len(features) == 0:
        raise UserError(
            f"features of shape {tuple(features.shape)} were given", "one row a picture was expected"
        )
    if not torch.isfinite(features).all():
        raise UserError(
            "features that are not finite were given", "finite numbers were expected", "look at the pictures"
        )
    return features.double()
