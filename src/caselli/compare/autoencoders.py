"""`caselli compare autoencoders`: a VAE of binary latents under each estimator of its gradient."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from caselli import data
from caselli.compare.base import Comparison, Table, TrainingSettings, chosen, free
from caselli.compare.pictures import pixels
from caselli.data import Batch
from caselli.engine import Fit, Generated, TrainingConfig
from caselli.errors import UserError
from caselli.estimator import ESTIMATORS
from caselli.family import VAE, FamilyTask, VAEConfig
from caselli.figures import cell, figure
from caselli.shapes import Float, Tensor

EVALUATIONS = 4
"""Approximate number of evaluations of the decoder for each picture of a step."""
REPEATS, ADAPTATION, ADAPTATION_RATE = 60, 60, 3e-3
"""Gradients that a variance is measured from, after as many steps of the estimator's own parameters."""
IMPORTANCE = 100
"""Samples of the importance-weighted bound."""


@dataclasses.dataclass(frozen=True)
class Settings(TrainingSettings):
    """Pictures, and the model that all estimators train."""

    estimators: tuple[str, ...] = free((), separator=";")
    """Names with semicolons between; by default all."""
    latents: int = 200
    """Binary latents of a picture."""
    network: str = "linear"
    """linear, perceptron, residual or convolutional."""
    steps: int = 2000
    """Training steps with four evaluations of the decoder; more of cheaper ones, fewer of dearer ones."""
    batch: int = 50
    """Pictures in a step."""
    learning_rate: float = 3e-3
    """Learning rate of Adam at the start. The larger it is, and the smaller the batch, the more the noise of
    a gradient costs."""
    most: int = 1000
    """Held-out pictures of the bound, at most."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One estimator's VAE."""

    estimator: str = figure("estimator")
    unbiased: bool = figure("unbiased")
    """An unbiased gradient of the estimator's own objective, which for `vimco` has several samples."""
    evaluations: int = figure("evaluations a step")
    steps: int = figure("steps")
    training: float = figure("training (nats)", ".2f")
    """Importance-weighted bound of log p of training pictures."""
    held_out: float = figure("held out (nats)", ".2f")
    """Importance-weighted bound of log p of held-out pictures, where a small set may be overfitted."""
    variance: float = figure("variance", ".2g")
    """Variance of the gradient in the encoder, summed, at weights that all share; in nats²."""
    seconds: float = figure("seconds", ".0f", timed=True)


@dataclasses.dataclass(frozen=True)
class Method:
    """An estimator, its options and the objective that it serves."""

    estimator: str
    samples: int
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    objective: str = "elbo"


METHODS = {
    "score, leave one out": Method("score", 4, {"baseline": "leave_one_out"}),
    "score, moving average": Method("score", 4, {"baseline": "moving_average"}),
    "score": Method("score", 4),
    "nvil": Method("nvil", 4),
    "arm": Method("arm", 2),
    "disarm": Method("disarm", 2),
    "rebar": Method("rebar", 1),
    "relax": Method("relax", 4),
    "measure_valued": Method("measure_valued", 1),
    "vimco": Method("vimco", 4, objective="iwae"),
    "straight_through": Method("straight_through", 4),
    "gumbel_softmax": Method("gumbel_softmax", 4),
    "straight_through_gumbel": Method("straight_through_gumbel", 4),
    "gumbel_rao": Method("gumbel_rao", 4),
    "reinmax": Method("reinmax", 4),
}
"""The estimators of binary latents, each with as many samples as `EVALUATIONS` allow; `enumeration` would
need 2 to the number of latents."""


class Autoencoders(Comparison):
    """A VAE of binary latents, trained with each estimator of its gradient for the same evaluations.

    Pictures are cut at mid-grey. The variances are measured at one set of weights, those that leave-one-out
    has after half its steps, with the parameters of baselines and control variates as their own run left them
    and fitted there a little longer.
    """

    Settings, Row = Settings, Row

    def subjects(self) -> dict[str, Any]:
        asked = self.settings
        if asked.batch < 1 or asked.learning_rate <= 0 or asked.steps < 1:
            raise UserError(
                f"batch {asked.batch}, learning rate {asked.learning_rate}, steps {asked.steps} were given",
                "more than 0 was expected",
            )
        return {name: METHODS[name] for name in chosen(asked.estimators, METHODS, "estimator")}

    def rows(self, subjects: Mapping[str, Method], folder: Path) -> Iterator[Row]:
        asked = self.settings
        pictures = data.open(asked.source, size=asked.size, split="all")
        x, test = (pixels(pictures.split(part)) for part in ("train", "held_out"))
        test = test[data.spread(len(test), asked.most)]
        part = x[data.spread(len(x), len(test))]
        shape = {"channels": pictures.channels, "size": pictures.size}
        with torch.random.fork_rng():
            shared, steps = self._untrained(next(iter(METHODS.values())), shape)
            self._training(shared, x, steps).run(lambda fit: fit.step >= steps // 2)
        for name, method in subjects.items():
            begin = time.perf_counter()
            with torch.random.fork_rng():
                vae, steps = self._untrained(method, shape)
                self._training(vae, x, steps).run()
                seconds = time.perf_counter() - begin
                torch.manual_seed(asked.seed)
                bounds = [bound(vae, each) for each in (part, test)]
                one = sampled(x, asked.batch, torch.Generator().manual_seed(asked.seed + 1))
                found = variance(vae, shared, one.pictures)
            unbiased, cost = ESTIMATORS[method.estimator].unbiased, evaluations(vae, method)
            yield Row(name, unbiased, cost, steps, *bounds, found, seconds)

    def _untrained(self, method: Method, shape: dict[str, int]) -> tuple[VAE, int]:
        """A model at its start, and the number of steps that its evaluations leave it."""
        config = VAEConfig(
            **shape,
            network=self.settings.network,
            count=self.settings.latents,
            latents="bernoulli",
            likelihood="bernoulli",
            estimator=method.estimator,
            estimator_options=method.options,
            objective=method.objective,
            objective_options={"samples": method.samples},
        )
        torch.manual_seed(self.settings.seed)
        vae = VAE(config)
        return vae, max(1, round(self.settings.steps * EVALUATIONS / evaluations(vae, method)))

    def _training(self, vae: VAE, x: Tensor, steps: int) -> Fit:
        """A training by Adam along a cosine, at its beginning."""
        asked, random = self.settings, torch.Generator().manual_seed(self.settings.seed)
        rates = {"learning_rate": asked.learning_rate, "betas": (0.9, 0.999), "warmup": 0}
        config = TrainingConfig(steps=steps, **rates, weight_decay=0.0, clip=0.0)
        batches = Generated(lambda step: sampled(x, asked.batch, random))
        return Fit(FamilyTask(vae), batches, config, seed=asked.seed)

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """The best bound on training pictures first."""
        return super().tables(sorted(rows, key=lambda row: -row.training))

    def notes(self, rows: Sequence[Row]) -> str:
        agreement = cell(order_agreement(rows), ".2f")
        return f"Rank correlation of low variance and high bound, unbiased ones of the ELBO: {agreement}."


def evaluations(vae: VAE, method: Method) -> int:
    """Evaluations of the decoder for a picture in one step."""
    q = vae.space.posterior(torch.zeros(1, vae.space.inputs))
    return vae.estimator.evaluations(q, method.samples)


def sampled(x: Float[Tensor, "n C H W"], count: int, random: torch.Generator) -> Batch:
    """A batch of pictures chosen at random, with repetition."""
    indices = torch.randint(len(x), (count,), generator=random)
    return Batch(x[indices], None, None, indices)


def bound(vae: VAE, x: Float[Tensor, "n C H W"]) -> float:
    """Mean importance-weighted bound of log p, in nats a picture."""
    return torch.cat([vae.eval().bound(part, IMPORTANCE) for part in x.split(200)]).mean().item()


def variance(vae: VAE, shared: VAE, x: Float[Tensor, "B C H W"]) -> float:
    """Variance of the gradient in the encoder of `shared`, by the estimator of `vae`, summed, in nats².

    The estimator's own parameters are fitted to the same batch x first.
    """
    twin = copy.deepcopy(shared)
    twin.estimator, twin.objective = copy.deepcopy(vae.estimator), vae.objective
    own, encoder = list(twin.estimator.parameters()), list(twin.head.parameters())
    twin.estimator.train()  # baselines learn in that mode alone
    adam = torch.optim.Adam(own, lr=ADAPTATION_RATE) if own else None
    for _ in range(ADAPTATION if len(twin.estimator.state_dict()) else 0):
        total = twin.losses(x, None, 0).total
        if adam is not None:
            adam.zero_grad()
            total.backward(inputs=own)
            adam.step()
    twin.estimator.eval()
    unit = twin.config.dimensions * math.log(2)
    gradients = []
    for _ in range(REPEATS):
        parts = torch.autograd.grad(twin.losses(x, None, 0).total, encoder)
        gradients.append(torch.cat([part.flatten() for part in parts]))
    return (unit**2 * torch.stack(gradients).var(0).sum()).item()


def order_agreement(rows: Sequence[Row]) -> float:
    """Spearman's rank correlation of falling variance and rising training bound.

    Over the unbiased estimators of the same objective that made about as many steps.

    Example:
        >>> rows = [Row(str(i), True, 4, 10, -float(i), -1.0, float(i), 1.0) for i in range(4)]
        >>> order_agreement(rows)
        1.0
    """
    alike = [row for row in rows if row.unbiased and row.evaluations <= EVALUATIONS]
    alike = [row for row in alike if row.estimator != "vimco"]
    by_variance = sorted(alike, key=lambda row: row.variance)
    by_bound = sorted(alike, key=lambda row: -row.training)
    n = len(alike)
    squared = sum((by_variance.index(row) - by_bound.index(row)) ** 2 for row in alike)
    return 1 - 6 * squared / (n * (n * n - 1)) if n > 1 else 1.0
