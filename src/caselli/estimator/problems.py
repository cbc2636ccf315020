"""Small problems with known gradients, to compare estimators on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import distributions as D

from caselli.estimator.base import Function


@dataclasses.dataclass(frozen=True)
class Problem:
    """A function and a distribution."""

    f: Function
    p: D.Distribution
    words: str
    """The problem in one line."""


def bernoulli(target: float = 0.45, logit: float = 0.0) -> Problem:
    """f = (b - t)² of one Bernoulli latent; the gradient in the logit is p(1 - p)(1 - 2t).

    Example:
        >>> bernoulli().p.logits
        tensor(0., dtype=torch.float64)
    """
    p = D.Bernoulli(logits=torch.tensor(logit, dtype=torch.float64))
    return Problem(lambda z: (z - target) ** 2, p, f"(b - {target})² of one Bernoulli latent, logit {logit}")


def categorical(power: int = 2) -> Problem:
    """f = (c·x - 1.5)ᵏ of one latent with four categories: ReinMax is exact for k = 2, not for k = 3."""
    p = D.OneHotCategorical(logits=torch.tensor([0.3, -0.2, 1.0, 0.5], dtype=torch.float64))
    values = torch.arange(1.0, 5.0, dtype=torch.float64)
    return Problem(
        lambda z: (z @ values - 1.5) ** power, p, f"(c·x - 1.5)^{power} of one latent, four categories"
    )


def gaussian() -> Problem:
    """f = x² under N(1, 1); the gradients are 2 in the mean and 2 in the scale."""
    one = torch.ones((), dtype=torch.float64)
    return Problem(torch.square, D.Normal(one, one), "x² under N(1, 1)")


def three_bernoulli() -> Problem:
    """f = Σ (x_i - p_i)² of three Bernoulli latents at logit 0; the three gradients add up to -0.045."""
    targets = torch.tensor([0.6, 0.51, 0.48], dtype=torch.float64)
    p = D.Independent(D.Bernoulli(logits=torch.zeros(3, dtype=torch.float64)), 1)
    return Problem(lambda z: (z - targets).square().sum(-1), p, "Σ (x - p)² of three Bernoulli latents")


def polynomial(power: float = 2.0, latents: int = 128, target: float = 0.45) -> Problem:
    """f = mean |z - c|^p of many Bernoulli latents at logit 0; the best is all zeros, c^p."""
    p = D.Independent(D.Bernoulli(logits=torch.zeros(latents, dtype=torch.float64)), 1)
    return Problem(
        lambda z: (z - target).abs().pow(power).mean(-1),
        p,
        f"mean |z - {target}|^{power} of {latents} latents",
    )


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "bernoulli": bernoulli,
    "categorical_square": categorical,
    "categorical_cube": lambda: categorical(3),
    "gaussian": gaussian,
    "three_bernoulli": three_bernoulli,
    "polynomial": polynomial,
}
"""The problems by name."""
