"""A VAE of binary latents trained with each estimator of its gradient: bounds beside variances."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from caselli import markdown
from caselli.data import Pictures, to_float
from caselli.errors import UnknownName, UserError
from caselli.estimator import ESTIMATORS
from caselli.family.vae import VAE, VAEConfig
from caselli.shapes import Float, Tensor

EVALUATIONS = 4
"""Evaluations of the decoder for each picture of a step, about."""
BATCH, RATE = 50, 3e-3
"""Pictures of a step; the peak learning rate of Adam, which falls along a cosine."""
REPEATS, ADAPTATION = 60, 60
"""Gradients that a variance is measured from, after as many steps of the estimator's own parameters."""
IMPORTANCE = 100
"""Samples of the bound on held-out pictures."""


@dataclasses.dataclass(frozen=True)
class Way:
    """How one estimator is used."""

    estimator: str
    samples: int
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    objective: str = "elbo"


WAYS: dict[str, Way] = {
    "score, leave one out": Way("score", 4, {"baseline": "leave_one_out"}),
    "score, moving average": Way("score", 4, {"baseline": "moving_average"}),
    "score": Way("score", 4),
    "nvil": Way("nvil", 4),
    "arm": Way("arm", 2),
    "disarm": Way("disarm", 2),
    "rebar": Way("rebar", 1),
    "relax": Way("relax", 4),
    "measure_valued": Way("measure_valued", 1),
    "vimco": Way("vimco", 4, objective="iwae"),
    "straight_through": Way("straight_through", 4),
    "gumbel_softmax": Way("gumbel_softmax", 4),
    "straight_through_gumbel": Way("straight_through_gumbel", 4),
    "gumbel_rao": Way("gumbel_rao", 4),
    "reinmax": Way("reinmax", 4),
}
"""The estimators of binary latents, each with as many samples as `EVALUATIONS` allow; `enumeration` would
need 2 to the number of latents."""


@dataclasses.dataclass(frozen=True)
class BinaryFit:
    """One estimator's VAE."""

    way: str
    unbiased: bool
    """Of the objective that it is given: of several samples for `vimco`."""
    evaluations: int
    """Of the decoder for a picture in one step."""
    steps: int
    training_bound: float
    """The importance-weighted bound of log p of training pictures, in nats a picture."""
    bound: float
    """The same of held-out pictures, where a small set may be overfitted."""
    variance: float
    """Of the gradient in the encoder, summed, at weights that all share; in nats²."""
    seconds: float


def compare_binary(
    pictures: Pictures,
    held_out: Pictures,
    ways: Sequence[str] = tuple(WAYS),
    *,
    latents: int = 200,
    network: str = "linear",
    steps: int = 2000,
    batch: int = BATCH,
    learning_rate: float = RATE,
    seed: int = 0,
) -> Iterator[BinaryFit]:
    """Trains the same VAE with each estimator, each for the same number of evaluations of the decoder.

    Pictures are cut at mid-grey. The variances are measured at one set of weights, those of the first way
    after half its steps, with the parameters of baselines and control variates as their own run left them
    and fitted there a little longer.

    Arguments:
        pictures, held_out: to train on, and to measure the bound on.
        ways: names in `WAYS`.
        latents: how many, binary.
        network: linear (one layer), or another name in `ENCODERS`.
        steps: of the estimators with `EVALUATIONS` evaluations; more of cheaper ones, fewer of dearer ones.
        batch: pictures of a step.
        learning_rate: Adam's at the start. The larger it is, and the smaller the batch, the more the noise of
            a gradient costs.
        seed: of everything random.

    Errors: `UnknownName` for a way that is none, `UserError` for a batch or rate that is not positive.
    """
    if batch < 1 or learning_rate <= 0:
        raise UserError(f"batch {batch} and learning rate {learning_rate} were given", "more was expected")
    for name in ways:
        if name not in WAYS:
            raise UnknownName("estimator", name, WAYS)
    x, test = (to_float(part.read(torch.arange(len(part)))) for part in (pictures, held_out))
    shape = {"channels": pictures.channels, "size": pictures.size}
    shared: VAE | None = None
    for name in ways:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            vae = VAE(_config(WAYS[name], latents, network, shape))
            count, done = _evaluations(vae, WAYS[name]), time.perf_counter()
            rounds = max(1, round(steps * EVALUATIONS / count))
            half = _trained(vae, x, rounds, batch, learning_rate, seed)
            seconds = time.perf_counter() - done
            shared = half if shared is None else shared
            bounds = [_bound(vae, part) for part in (x[: len(test)], test)]
            variance = _variance(vae, shared, x, batch, seed)
        unbiased = ESTIMATORS[WAYS[name].estimator].unbiased
        yield BinaryFit(name, unbiased, count, rounds, *bounds, variance, seconds)


def _bound(vae: VAE, x: Tensor) -> float:
    return torch.cat([vae.eval().bound(part, IMPORTANCE) for part in x.split(200)]).mean().item()


def _config(way: Way, latents: int, network: str, shape: dict[str, int]) -> VAEConfig:
    return VAEConfig(
        **shape,
        network=network,
        latents="bernoulli",
        count=latents,
        likelihood="bernoulli",
        estimator=way.estimator,
        estimator_options=way.options,
        objective=way.objective,
        objective_options={"samples": way.samples},
    )


def _evaluations(vae: VAE, way: Way) -> int:
    q = vae.space.posterior(torch.zeros(1, vae.space.inputs))
    return vae.estimator.evaluations(q, way.samples)


def _trained(vae: VAE, x: Tensor, steps: int, size: int, rate: float, seed: int) -> VAE:
    """Trains in place; returns a copy of what it was half way."""
    adam = torch.optim.Adam(vae.parameters(), lr=rate)
    random, half = torch.Generator().manual_seed(seed), copy.deepcopy(vae)
    for step in range(steps):
        if step == steps // 2:
            half = copy.deepcopy(vae)
        for group in adam.param_groups:
            group["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
        batch = x[torch.randint(len(x), (size,), generator=random)]
        adam.zero_grad()
        vae.losses(batch, None, step).total.backward()
        adam.step()
    return half


def _variance(vae: VAE, shared: VAE, x: Tensor, size: int, seed: int) -> float:
    """Of the gradient in the encoder of `shared`, by the estimator of `vae`, on one batch."""
    twin = copy.deepcopy(shared)
    twin.estimator, twin.objective = copy.deepcopy(vae.estimator), vae.objective
    batch = x[torch.randint(len(x), (size,), generator=torch.Generator().manual_seed(seed + 1))]
    own = list(twin.estimator.parameters())
    adam = torch.optim.Adam(own, lr=RATE) if own else None
    for _ in range(ADAPTATION if len(twin.estimator.state_dict()) else 0):
        total = twin.losses(batch, None, 0).total
        if adam is not None:
            adam.zero_grad()
            total.backward(inputs=own)
            adam.step()
    unit = twin.config.dimensions * math.log(2)
    rows = torch.stack([_gradient(twin, batch) for _ in range(REPEATS)])
    return (unit**2 * rows.var(0).sum()).item()


def _gradient(vae: VAE, batch: Tensor) -> Float[Tensor, "n"]:
    total = vae.losses(batch, None, 0).total
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, list(vae.head.parameters()))])


def binary_table(fits: Sequence[BinaryFit]) -> str:
    """The fits as Markdown, the best bound on training pictures first; bounds in nats.

    Example:
        >>> fits = [BinaryFit("arm", True, 4, 10, -99.0, -100.0, 2.0, 1.0)]
        >>> print(binary_table(fits).splitlines()[2])
        | `arm` | yes | 4 | 10 | −99.00 | −100.00 | 2 |
    """
    head = ["estimator", "unbiased", "evaluations a step", "steps", "training", "held out", "variance"]
    rows = []
    for f in sorted(fits, key=lambda f: -f.training_bound):
        bounds = [f"{b:.2f}".replace("-", "−") for b in (f.training_bound, f.bound)]
        cells = [f.evaluations, f.steps, *bounds, f"{f.variance:.2g}"]
        rows.append([f"`{f.way}`", "yes" if f.unbiased else "no", *map(str, cells)])
    return markdown.table(head, rows)


def order_agreement(fits: Sequence[BinaryFit]) -> float:
    """Spearman's rank correlation of falling variance and rising training bound.

    Over the unbiased estimators of the same objective that made about as many steps.

    Example:
        >>> made = [BinaryFit(str(i), True, 4, 10, -float(i), -1.0, float(i), 1.0) for i in range(4)]
        >>> order_agreement(made)
        1.0
    """
    alike = [f for f in fits if f.unbiased and f.evaluations <= EVALUATIONS and f.way != "vimco"]
    by_variance = sorted(alike, key=lambda f: f.variance)
    by_bound = sorted(alike, key=lambda f: -f.training_bound)
    n = len(alike)
    squared = sum((by_variance.index(f) - by_bound.index(f)) ** 2 for f in alike)
    return 1 - 6 * squared / (n * (n * n - 1)) if n > 1 else 1.0
