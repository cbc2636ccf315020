"""Distributions in the plane, and models fitted to them under any divergence."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

import torch
from torch import distributions as D
from torch import nn

from caselli import engine
from caselli.compare.base import kept
from caselli.divergence import DIVERGENCES, Divergence, Need, names_that_need
from caselli.engine import Generated, Losses, Part, Task, TrainingConfig
from caselli.errors import UserError, lookup
from caselli.estimator import rsample
from caselli.family import MixtureOfGaussians, adversarial, perceptron
from caselli.figures import figure
from caselli.shapes import Float, Tensor

BATCH, JUDGED = 256, 2000
"""Samples in a step, and samples that are judged."""
NEAR = 0.25
"""Largest distance of a sample of the model that reaches a sample of the data."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A model fitted to one distribution under one divergence."""

    target: str = figure("distribution")
    divergence: str = figure("divergence")
    precision: float = figure("precision", ".2f")
    """Share of the model's samples at which the data are denser than at their rarest hundredth."""
    recall: float = figure("recall", ".2f")
    """Share of the data that some sample of the model comes near."""
    seconds: float = figure("seconds", ".1f", timed=True)
    samples: Float[Tensor, "n 2"] | None = kept()


def along(points: Float[Tensor, "K 2"], scale: float) -> D.MixtureSameFamily:
    """A mixture of equal Gaussians at the points.

    It is in double precision, since ratios of densities far from the points do not fit into single.
    """
    points = points.double()
    parts = D.Independent(D.Normal(points, torch.full_like(points, scale), validate_args=False), 1)
    weights = D.Categorical(logits=torch.zeros(len(points)).double(), validate_args=False)
    return D.MixtureSameFamily(weights, parts, validate_args=False)


def _circle(count: int, radius: float, start: float = 0.0, turn: float = 2 * math.pi) -> Tensor:
    angle = start + turn * (torch.arange(count) + 0.5) / count
    return radius * torch.stack([angle.cos(), angle.sin()], 1)


def _moons() -> Tensor:
    upper, lower = _circle(32, 1.5, 0.0, math.pi), _circle(32, 1.5, math.pi, math.pi)
    return torch.cat([upper - torch.tensor([0.75, 0.4]), lower + torch.tensor([0.75, 0.4])])


def _checkerboard() -> Tensor:
    inside = (torch.arange(5) + 0.5) / 5
    square = torch.cartesian_prod(inside, inside)
    corners = torch.tensor([[i - 2.0, j - 2.0] for i in range(4) for j in range(4) if (i + j) % 2 == 0])
    return (corners[:, None] + square).flatten(0, 1)


TARGETS: dict[str, Callable[[], D.Distribution]] = {
    "eight_gaussians": lambda: along(_circle(8, 2.0), 0.15),
    "ring": lambda: along(_circle(64, 2.0), 0.12),
    "two_moons": lambda: along(_moons(), 0.12),
    "checkerboard": lambda: along(_checkerboard(), 0.1),
}
"""Distributions by name, each with a density and samples: eight narrow Gaussians on a circle; a circle with
soft edges; two half circles that reach into each other; the eight dark squares of a board of four by four."""


def fit(
    target: str, divergence: str, model: str = "mixture", components: int = 4, steps: int = 400, seed: int = 0
) -> Row:
    """Fits a model to a distribution of the plane.

    Arguments:
        target: a name in `TARGETS`.
        divergence: a name in `DIVERGENCES`.
        model: mixture (of Gaussians: density and samples) or generator (a network from noise: samples).
        components: number of Gaussians in the mixture; few, so that it must choose what to leave out.
        steps: steps of Adam.
        seed: seed of everything random.

    Errors: `UserError` for unknown names, and for a divergence that the model does not serve.

    Example:
        >>> fit("ring", "mmd", steps=2).samples.shape
        torch.Size([2000, 2])
    """
    make, distance = lookup(MODELS, "model", model), divergence_of(divergence, model)
    p, begin = lookup(TARGETS, "distribution", target)(), time.perf_counter()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        task = PlaneTask(distance, p, make(components).double())
        rate = task.model.learning_rate if task.critic is None else min(task.model.learning_rate, 6e-3)
        config = TrainingConfig(
            steps=steps, learning_rate=rate, betas=task.betas, warmup=0, weight_decay=0.0, clip=0.0
        )
        engine.fit(task, Generated(lambda step: p.sample((BATCH,))), config, seed=seed)
        with torch.no_grad():
            samples, data = task.model.samples(JUDGED), p.sample((JUDGED,))
    seconds, least = time.perf_counter() - begin, p.log_prob(data).quantile(0.01)
    precision = (p.log_prob(samples) >= least).double().mean().item()
    recall = (torch.cdist(data, samples).amin(1) <= NEAR).double().mean().item()
    return Row(target, divergence, precision, recall, seconds, samples)


class PlaneMixture(MixtureOfGaussians):
    """A mixture of Gaussians: a density and samples."""

    learning_rate = 3e-2

    def __init__(self, components: int) -> None:
        super().__init__(components, 2, least=0.02)

    def samples(self, count: int) -> Float[Tensor, "n 2"]:
        """Samples with gradients."""
        return rsample(self.distribution(), count)


class Generator(nn.Module):
    """A network from noise to the plane, through two hidden layers: samples alone."""

    learning_rate = 2e-3

    def __init__(self, components: int) -> None:
        super().__init__()
        self.network = perceptron(4, 2)

    def samples(self, count: int) -> Float[Tensor, "n 2"]:
        """Samples with gradients."""
        return 2 * self.network(torch.randn(count, 4, dtype=torch.float64))


MODELS: dict[str, type] = {"mixture": PlaneMixture, "generator": Generator}
"""The models of the plane by name."""


class PlaneTask(Task):
    """The divergence of a model from a distribution of the plane, with a critic where it needs one."""

    def __init__(self, distance: Divergence, p: D.Distribution, model: nn.Module) -> None:
        super().__init__()
        self.distance, self.p, self.model = distance, p, model
        self.critic = None
        if distance.needs is Need.CRITIC:
            self.critic = distance.prepare(perceptron(2, 1).double())

    @property
    def betas(self) -> tuple[float, float]:
        """Adam's averages; a critic and its model need a shorter memory of each other."""
        return (0.9, 0.99) if self.critic is None else (0.5, 0.99)

    def forward(self, x: Float[Tensor, "B 2"], step: int) -> Losses:
        needs, distance = self.distance.needs, self.distance
        if needs in (Need.TWO_DENSITIES, Need.DENSITY_AND_SAMPLES):
            data = self.p if needs is Need.TWO_DENSITIES else x
            return Losses(distance(data, self.model.distribution()).value, {})
        y = self.model.samples(BATCH)
        if self.critic is None:
            return Losses(distance(x, y).value, {})
        return adversarial(distance, self.critic, self.critic, x, y)

    def parts(self) -> list[Part]:
        if self.critic is None:
            return []
        return [Part("critic", list(self.critic.parameters()), 3e-3, self.betas)]


def fitting_the_plane(model: str) -> list[str]:
    """Names of the divergences under which a model of the plane can be fitted."""
    needs = list(Need) if model == "mixture" else [Need.TWO_SAMPLES, Need.CRITIC]
    return [name for name in names_that_need(*needs) if name != "wasserstein_1d"]


def divergence_of(name: str, model: str) -> Divergence:
    """The divergence, for a model of the plane.

    Errors: `UserError` for a divergence of the line, and for one that needs a density of a generator.
    """
    kind = lookup(DIVERGENCES, "divergence", name)
    if name == "wasserstein_1d":
        hint = "take sliced_wasserstein or sinkhorn"
        raise UserError(f"{name} was given", "a divergence of the plane was expected", hint)
    fitting = fitting_the_plane(model)
    if name not in fitting:
        given, hint = f"a generator has no density, and {name} was given", f"these fit: {', '.join(fitting)}"
        raise UserError(given, f"it needs {kind.needs.value}", hint)
    if kind.needs is Need.TWO_DENSITIES:
        return kind(samples=2 * BATCH)
    return kind(epsilon=0.1, iterations=20) if name == "sinkhorn" else kind()
