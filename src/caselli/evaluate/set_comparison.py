"""Two sets of pictures compared by their features, with everything that the figures depend on."""

from __future__ import annotations

import dataclasses

from caselli import ranks
from caselli.evaluate.frechet import frechet_of_ranks, frechet_ratio
from caselli.evaluate.kernel import kernel_distance
from caselli.evaluate.mind import monge_distance
from caselli.evaluate.neighbours import manifold
from caselli.figures import figure
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class SetComparison:
    """Distances between generated and real pictures, and what they were measured with."""

    frechet: float = figure("Fréchet distance", ".1f")
    """Fréchet distance; FID when the features are Inception's."""
    kernel: float = figure("kernel distance", ".4f")
    """Kernel distance; KID when the features are Inception's."""
    kernel_deviation: float
    """Standard deviation of `kernel` over subsets."""
    monge: float = figure("Monge distance", ".2f")
    """Sliced Wasserstein distance on the scale of `frechet`; MIND when the features are Inception's."""
    frechet_ratio: float | None = figure("Fréchet distance over that of training pictures", ".2f")
    """Fréchet distance over that of as many other real pictures; None where none were given."""
    precision: float = figure("precision", ".1%")
    recall: float = figure("recall", ".1%")
    density: float = figure("density", ".2f")
    coverage: float = figure("coverage", ".1%")
    features: str
    """Name of the network that gave the features."""
    reference: str
    """Name of the set of real pictures."""
    real_count: int
    made_count: int


def compare_sets(
    real: Float[Tensor, "n F"],
    made: Float[Tensor, "m F"],
    *,
    features: str,
    reference: str,
    others: Float[Tensor, "k F"] | None = None,
    neighbours: int = 3,
    seed: int = 0,
) -> SetComparison:
    """All distances between two sets, from their features.

    Of several ranks each gives the features of its part of the sets: the Fréchet distance is that of moments
    summed, for the others, which compare pictures in pairs, features are gathered.

    Figures are comparable only with the same features, the same reference set and the same counts: against
    held-out pictures they are lower than against training statistics, and few pictures raise the Fréchet
    distance. So all of these are part of the record.

    Arguments:
        real, made: features of one network.
        features: the network's `features_name`.
        reference: what the real pictures are, such as "glyphs, held out".
        others: features of further real pictures, as many as made ones, for the Fréchet ratio.
        neighbours: k of precision and recall.
        seed: seed of the kernel distance's subsets and of the directions.

    Example:
        >>> import torch
        >>> x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        >>> found = compare_sets(x, x, features="none", reference="noise")
        >>> round(found.frechet, 6), found.precision, found.reference
        (0.0, 1.0, 'noise')
    """
    frechet = frechet_of_ranks(real, made)
    ratio = None if others is None else frechet_ratio(real, made, others)
    real, made = ranks.join(real), ranks.join(made)
    kernel = kernel_distance(real, made, seed=seed)
    neighbourhood = manifold(real, made, neighbours)
    return SetComparison(
        frechet=frechet,
        kernel=kernel.mean,
        kernel_deviation=kernel.deviation,
        monge=monge_distance(real, made, seed=seed),
        frechet_ratio=ratio,
        **dataclasses.asdict(neighbourhood),
        features=features,
        reference=reference,
        real_count=len(real),
        made_count=len(made),
    )
