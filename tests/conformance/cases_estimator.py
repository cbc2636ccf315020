"""Problems with known gradients, for every estimator that serves them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import distributions as D

DOUBLE = torch.float64


@dataclasses.dataclass(frozen=True)
class Case:
    f: Callable
    p: Callable[[], D.Distribution]
    truth: tuple[float, ...] | None
    """The gradient in p's parameters; None: by enumeration."""
    skip: tuple[str, ...] = ()


def tensor(*numbers):
    return torch.tensor(numbers if len(numbers) > 1 else numbers[0], dtype=DOUBLE)


def interacting(z):
    """A function in which no coordinate is separate, and neither side of a coordinate is like the other."""
    return (z.sum(-1) - 1.2) ** 2 + z[..., 0] * z[..., -1] - torch.cos(z).prod(-1)


def table_lookup(z):
    return tensor(0.3, -1.0, 2.0, 0.7)[z]


MIXTURE_WEIGHTS, MIXTURE_MEANS, MIXTURE_SCALES = (0.2, -0.4), (-1.0, 0.8), (0.6, 1.1)


def mixture():
    return D.MixtureSameFamily(
        D.Categorical(logits=tensor(*MIXTURE_WEIGHTS)),
        D.Normal(tensor(*MIXTURE_MEANS), tensor(*MIXTURE_SCALES)),
    )


def mixture_square_gradient():
    """E z² = Σ w (μ² + σ²) of the mixture above, differentiated by hand."""
    total = sum(math.exp(a) for a in MIXTURE_WEIGHTS)
    weights = [math.exp(a) / total for a in MIXTURE_WEIGHTS]
    moments = [m * m + s * s for m, s in zip(MIXTURE_MEANS, MIXTURE_SCALES, strict=True)]
    mean = sum(w * m for w, m in zip(weights, moments, strict=True))
    logits = [w * (m - mean) for w, m in zip(weights, moments, strict=True)]
    means = [2 * w * m for w, m in zip(weights, MIXTURE_MEANS, strict=True)]
    scales = [2 * w * s for w, s in zip(weights, MIXTURE_SCALES, strict=True)]
    return (*logits, *means, *scales)


CASES: dict[str, Case] = {
    "bernoulli": Case(lambda z: (z - 0.45) ** 2, lambda: D.Bernoulli(logits=tensor(1.0)), (0.0196612,)),
    "bernoullis": Case(
        interacting, lambda: D.Independent(D.Bernoulli(logits=tensor(0.3, -1.0, 2.0)), 1), None
    ),
    "one_hot": Case(
        lambda z: (z @ tensor(1.0, 2.0, 3.0, 4.0) - 1.5) ** 3,
        lambda: D.OneHotCategorical(logits=tensor(0.3, -0.2, 1.0, 0.5)),
        (-1.127760, -0.652703, -0.815310, 2.595773),
    ),
    "one_hots": Case(
        lambda z: interacting(z @ tensor(1.0, 0.0, -2.0)),
        lambda: D.Independent(D.OneHotCategorical(logits=tensor((0.3, -0.2, 1.0), (0.0, 1.0, -1.0))), 1),
        None,
    ),
    "categorical": Case(table_lookup, lambda: D.Categorical(logits=tensor(0.3, -0.2, 1.0, 0.5)), None),
    "normal": Case(torch.square, lambda: D.Normal(tensor(1.0), tensor(1.0)), (2.0, 2.0), ("vimco",)),
    "normals": Case(
        lambda z: z.prod(-1) + z[..., 0] ** 2,
        lambda: D.Independent(D.Normal(tensor(1.0, -0.5), tensor(0.8, 1.2)), 1),
        (1.5, 1.0, 1.6, 0.0),
        ("vimco",),
    ),
    # E n² = λ² + λ
    "poisson": Case(lambda n: n**2, lambda: D.Poisson(tensor(2.5)), (6.0,), ("vimco",)),
    # E x² = α(α + 1) / β²
    "gamma": Case(
        lambda x: x**2,
        lambda: D.Gamma(tensor(1.7), tensor(1.3)),
        (4.4 / 1.69, -2 * 1.7 * 2.7 / 1.3**3),
        ("vimco",),
    ),
    # a discontinuous f of a gamma latent: P(x > 1) for Gamma(2, β) is (1 + β) e^-β
    "gamma_step": Case(
        lambda x: (x > 1).to(x.dtype),
        lambda: D.Gamma(tensor(2.0), tensor(1.0)),
        (0.27619605, -0.36787944),
        ("vimco", "pathwise"),
    ),
    "mixture": Case(torch.square, mixture, mixture_square_gradient(), ("vimco",)),
}

LEAST = {"vimco": 3}
"""Samples for an estimator, where it is not its least number."""
