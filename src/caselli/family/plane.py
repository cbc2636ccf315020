"""Distributions in the plane, and models of them fitted under any divergence."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import distributions as D
from torch import nn

from caselli.divergence import DIVERGENCES, CriticDivergence, Divergence, Need, names_that_need
from caselli.errors import UnknownName, UserError, lookup
from caselli.estimator import rsample
from caselli.family.adversarial import adversarial
from caselli.family.mixture import MixtureOfGaussians
from caselli.family.network import perceptron
from caselli.shapes import Float, Tensor

MODELS = ("mixture", "generator")
BATCH, DRAWN = 256, 2000
"""Samples of a step, and samples that are judged."""
NEAR = 0.25
"""A sample of the data is reached when one of the model's lies this near."""


def along(points: Float[Tensor, "K 2"], scale: float) -> D.MixtureSameFamily:
    """Equal Gaussians at points: a density for whatever the points trace.

    In double precision: ratios of densities far from the points do not fit into single.
    """
    points = points.double()
    parts = D.Independent(D.Normal(points, torch.full_like(points, scale), validate_args=False), 1)
    weights = D.Categorical(logits=torch.zeros(len(points)).double(), validate_args=False)
    return D.MixtureSameFamily(weights, parts, validate_args=False)


def _circle(count: int, radius: float, start: float = 0.0, turn: float = 2 * math.pi) -> Tensor:
    angle = start + turn * (torch.arange(count) + 0.5) / count
    return radius * torch.stack([angle.cos(), angle.sin()], 1)


def eight_gaussians() -> D.Distribution:
    """Eight narrow Gaussians on a circle."""
    return along(_circle(8, 2.0), 0.15)


def ring() -> D.Distribution:
    """A circle with soft edges."""
    return along(_circle(64, 2.0), 0.12)


def two_moons() -> D.Distribution:
    """Two half circles that reach into each other."""
    upper, lower = _circle(32, 1.5, 0.0, math.pi), _circle(32, 1.5, math.pi, math.pi)
    return along(torch.cat([upper - torch.tensor([0.75, 0.4]), lower + torch.tensor([0.75, 0.4])]), 0.12)


def checkerboard() -> D.Distribution:
    """The eight dark squares of a board of four by four."""
    inside = (torch.arange(5) + 0.5) / 5
    square = torch.cartesian_prod(inside, inside)
    corners = torch.tensor([[i - 2.0, j - 2.0] for i in range(4) for j in range(4) if (i + j) % 2 == 0])
    return along((corners[:, None] + square).flatten(0, 1), 0.1)


TARGETS: dict[str, Callable[[], D.Distribution]] = {
    "eight_gaussians": eight_gaussians,
    "ring": ring,
    "two_moons": two_moons,
    "checkerboard": checkerboard,
}
"""The distributions by name; each has a density and samples."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """A model of the plane, fitted."""

    target: str
    divergence: str
    samples: Float[Tensor, "n 2"]
    """Of the model."""
    precision: float
    """Share of them that lie where the data do: denser than at the rarest hundredth of the data."""
    recall: float
    """Share of the data that some sample of the model comes near."""
    seconds: float


def fit(
    target: str,
    divergence: str,
    *,
    model: str = "mixture",
    components: int = 4,
    steps: int = 400,
    seed: int = 0,
) -> Fit:
    """Fits a model to a distribution of the plane.

    Arguments:
        target: a name in `TARGETS`.
        divergence: a name in `DIVERGENCES`.
        model: mixture (of Gaussians: density and samples) or generator (a network from noise: samples).
        components: of the mixture; few, so that it must choose what to leave out.
        steps: of Adam.
        seed: of everything random.

    Errors: `UserError` for unknown names, and for a divergence that needs what the model has not.

    Example:
        >>> fit("ring", "mmd", steps=2).samples.shape
        torch.Size([2000, 2])
    """
    if model not in MODELS:
        raise UnknownName("model", model, MODELS)
    p, distance = lookup(TARGETS, "target", target)(), _divergence(divergence, model)
    begin = time.perf_counter()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = MixtureOfGaussians(components, 2, least=0.02) if model == "mixture" else Generator()
        for step in _steps(distance, p, made.double(), steps):
            step()
        with torch.no_grad():
            drawn, data = made_samples(made, DRAWN), p.sample((DRAWN,))
    seconds = time.perf_counter() - begin
    return Fit(target, divergence, drawn, *_judged(p, data, drawn), seconds)


class Generator(nn.Module):
    """Noise → the plane, through two hidden layers."""

    def __init__(self) -> None:
        super().__init__()
        self.network = perceptron(4, 2)

    def forward(self, count: int) -> Float[Tensor, "n 2"]:
        return 2 * self.network(torch.randn(count, 4, dtype=torch.float64))


def made_samples(model: nn.Module, count: int) -> Float[Tensor, "n 2"]:
    """Samples of either model, with gradients."""
    return model(count) if isinstance(model, Generator) else rsample(model.distribution(), count)


def fitting_the_plane(model: str) -> list[str]:
    """Names of the divergences that a model of the plane can be fitted by."""
    needs = list(Need) if model == "mixture" else [Need.TWO_SAMPLES, Need.CRITIC]
    return [name for name in names_that_need(*needs) if name != "wasserstein_1d"]


def _divergence(name: str, model: str) -> Divergence:
    kind = lookup(DIVERGENCES, "divergence", name)
    if name == "wasserstein_1d":
        raise UserError(
            f"{name} was given",
            "a divergence of the plane was expected",
            "take sliced_wasserstein or sinkhorn",
        )
    if name not in fitting_the_plane(model):
        raise UserError(
            f"a generator has no density, and {name} was given",
            f"it needs {kind.needs.value}",
            f"these fit: {', '.join(fitting_the_plane(model))}",
        )
    if kind.needs is Need.TWO_DENSITIES:
        return kind(samples=2 * BATCH)
    return kind(epsilon=0.1, iterations=20) if name == "sinkhorn" else kind()


def _steps(distance: Divergence, p: D.Distribution, model: nn.Module, steps: int) -> Iterator[Callable]:
    """Steps of Adam, the critic's beside the model's where there is one."""
    critic = perceptron(2, 1).double() if isinstance(distance, CriticDivergence) else None
    critic = critic if critic is None else distance.prepare(critic)
    rates = [2e-3 if isinstance(model, Generator) else 3e-2 if critic is None else 6e-3, 3e-3]
    players = [model] if critic is None else [model, critic]
    groups = [{"params": list(player.parameters())} for player in players]
    adam = torch.optim.Adam(groups, betas=(0.9, 0.99) if critic is None else (0.5, 0.99))

    def step() -> None:
        adam.zero_grad()
        _loss(distance, p, model, critic).backward()
        adam.step()

    for number in range(steps):
        for group, rate in zip(adam.param_groups, rates, strict=False):
            group["lr"] = rate * (1 + math.cos(math.pi * number / steps)) / 2
        yield step


def _loss(distance: Divergence, p: D.Distribution, model: nn.Module, critic: nn.Module | None) -> Tensor:
    if distance.needs is Need.TWO_DENSITIES:
        return distance(p, model.distribution()).value
    x = p.sample((BATCH,))
    if distance.needs is Need.DENSITY_AND_SAMPLES:
        return distance(x, model.distribution()).value
    y = made_samples(model, BATCH)
    return distance(x, y).value if critic is None else adversarial(distance, critic, critic, x, y).total


def _judged(p: D.Distribution, data: Tensor, drawn: Tensor) -> tuple[float, float]:
    least = p.log_prob(data).quantile(0.01)
    precision = (p.log_prob(drawn) >= least).double().mean().item()
    recall = (torch.cdist(data, drawn).amin(1) <= NEAR).double().mean().item()
    return precision, recall


def compared(targets: Sequence[str], divergences: Sequence[str], **settings: object) -> Iterator[Fit]:
    """Every divergence on every target, one after another; see `fit` for the settings."""
    for target in targets:
        for divergence in divergences:
            yield fit(target, divergence, **settings)
