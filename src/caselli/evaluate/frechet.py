"""The Fréchet distance between two sets of pictures, from the moments of their features."""

from __future__ import annotations

import dataclasses

import torch

from caselli import ranks
from caselli.errors import UserError
from caselli.evaluate.rows import feature_rows
from caselli.shapes import Float, Tensor


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
        x = feature_rows(features)
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

    def of_ranks(self) -> Moments:
        """The moments of the sets of all ranks together, summed; all have to call it."""
        count = int(ranks.total(torch.tensor(self.count)))
        mean = ranks.total(self.mean * (self.count / count))
        gap = self.mean - mean
        scatter = ranks.total(self.scatter + self.count * torch.outer(gap, gap))
        return Moments(count, mean, scatter)

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


def frechet_of_ranks(real: Float[Tensor, "n F"], made: Float[Tensor, "m F"]) -> float:
    """The Fréchet distance between two sets of which each rank has a part: only moments are exchanged.

    Example:
        >>> x, y = torch.randn(2, 200, 4, dtype=torch.float64)
        >>> abs(frechet_of_ranks(x, y) - frechet_between(x, y)) < 1e-9
        True
    """
    if ranks.count() == 1:
        return frechet_between(real, made)
    return frechet_distance(*(Moments.of(part).of_ranks() for part in (real, made)))


def frechet_between(real: Float[Tensor, "n F"], made: Float[Tensor, "m F"]) -> float:
    r"""The Fréchet distance between two sets of features, the cheaper of two ways.

    Fewer pictures than features give the same trace by their centred features x and y:

    .. math:: \operatorname{tr} (\Sigma_r^{1/2} \Sigma_m \Sigma_r^{1/2})^{1/2}
        = \frac{\lVert x y^\top \rVert_*}{\sqrt{(n - 1)(m - 1)}}

    Example:
        >>> x, y = torch.randn(2, 20, 50, dtype=torch.float64)
        >>> abs(frechet_between(x, y) - frechet_distance(Moments.of(x), Moments.of(y))) < 1e-5
        True
    """
    x, y = feature_rows(real), feature_rows(made)
    enough = min(len(x), len(y)) > 1 and x.shape[1] == y.shape[1]
    if not enough or len(x) * len(y) > x.shape[1] ** 2:
        return frechet_distance(Moments.of(real), Moments.of(made))
    gap = (x.mean(0) - y.mean(0)).square().sum()
    x, y = ((part - part.mean(0)) / (len(part) - 1) ** 0.5 for part in (x, y))
    distance = gap + x.square().sum() + y.square().sum() - 2 * torch.linalg.svdvals(x @ y.T).sum()
    return max(float(distance), 0.0)


def frechet_ratio(
    real: Float[Tensor, "n F"], made: Float[Tensor, "m F"], others: Float[Tensor, "k F"]
) -> float:
    """The Fréchet distance of made pictures, divided by that of other real ones: 1 where it is no longer.

    The scales of different networks' features cancel, so that figures of several networks can be averaged.
    Few pictures bias both distances, and the ratio towards 1: it means little below the features' number.

    Arguments:
        real: features of the real pictures that are compared with.
        made: features of the pictures that are judged.
        others: features of real pictures that are not among `real`, such as training pictures.

    Source: after FDr of Yang, Geng, Ju, Tian, Wang (2026), Representation Fréchet loss for visual generation.

    Example:
        >>> x, y = torch.randn(2, 100, 3, dtype=torch.float64)
        >>> frechet_ratio(x, y, y)
        1.0
    """
    distance = frechet_of_ranks(real, others)
    if distance == 0:
        raise UserError("the same pictures were given as real and as other ones", "others were expected")
    return frechet_of_ranks(real, made) / distance


def _symmetric_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T
