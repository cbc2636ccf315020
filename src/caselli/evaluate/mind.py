"""The Monge distance between two sets of pictures: transport of their features along many directions."""

from __future__ import annotations

import torch

from caselli.divergence import SlicedWasserstein
from caselli.errors import UserError
from caselli.evaluate.rows import feature_rows
from caselli.shapes import Float, Tensor

DIRECTIONS = 1024


def monge_distance(
    real: Float[Tensor, "n F"], made: Float[Tensor, "m F"], *, directions: int = DIRECTIONS, seed: int = 0
) -> float:
    r"""The sliced Wasserstein distance (MIND, when the features are Inception's).

    .. math:: F \cdot \frac1S \sum_{s=1}^{S} W_2^2(u_s \cdot X, u_s \cdot Y)

    with S directions u uniform on the sphere; the factor F puts it on the Fréchet distance's scale: a shift
    of all features by δ gives about ‖δ‖² in both. It needs no covariance, so far fewer pictures, and sees
    more than two moments. Few pictures raise it, too: compare at equal counts.

    Arguments:
        real, made: features.
        directions: S.
        seed: seed of the directions; figures compare only at equal seeds.

    Source: Berthet, Wu, Crepy, Elie, Greff, Sander (2026), MIND: Monge Inception distance for generative
    models evaluation; the factor F is ours.

    Example:
        >>> x = torch.randn(200, 4, dtype=torch.float64)
        >>> round(monge_distance(x, x + 1), 0)
        4.0
    """
    x, y = feature_rows(real).cpu(), feature_rows(made).cpu()
    if x.shape[1] != y.shape[1] or directions < 1:
        raise UserError(
            f"features of widths {x.shape[1]} and {y.shape[1]} and {directions} directions were given",
            "the same features and at least 1 direction were expected",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return x.shape[1] * float(SlicedWasserstein(directions=directions)(x, y).value)
