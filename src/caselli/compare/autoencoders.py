"""`caselli compare autoencoders`: a VAE of binary latents under each estimator of its gradient."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from caselli import data
from caselli.compare.base import Comparison, Table, chosen, free
from caselli.compare.binary import EVALUATIONS, WAYS, Way, bound, training, variance
from caselli.compare.pictures import pixels
from caselli.errors import UserError
from caselli.family import VAE
from caselli.figures import cell, figure
from caselli.shapes import Tensor


@dataclasses.dataclass(frozen=True)
class Settings:
    """Pictures, and the model that all estimators train."""

    source: str
    """Pictures: a set, a folder, an archive."""
    size: int | None = None
    """Height and width in pixels; the set's own by default."""
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
    seed: int = 0
    """Seed of everything random."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One estimator's VAE."""

    estimator: str = figure("estimator")
    unbiased: bool = figure("unbiased")
    evaluations: int = figure("evaluations a step")
    steps: int = figure("steps")
    training: float = figure("training (nats)", ".2f")
    """Importance-weighted bound of log p of training pictures."""
    held_out: float = figure("held out (nats)", ".2f")
    """The same of held-out pictures, where a small set may be overfitted."""
    variance: float = figure("variance", ".2g")
    """Variance of the gradient in the encoder, summed, at weights that all share; in nats²."""
    seconds: float = figure("seconds", ".0f", timed=True)


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
        return {name: WAYS[name] for name in chosen(asked.estimators, WAYS, "estimator")}

    def rows(self, subjects: Mapping[str, Way], folder: Path) -> Iterator[Row]:
        asked = self.settings
        pictures = data.open(asked.source, size=asked.size, split="all")
        x, test = (pixels(pictures.split(part)) for part in ("train", "held_out"))
        test, seed = test[: asked.most], asked.seed
        shape = {"channels": pictures.channels, "size": pictures.size}
        shared = self._halfway(next(iter(WAYS.values())), x, shape)
        for name, way in subjects.items():
            begin = time.perf_counter()
            with torch.random.fork_rng():
                vae, steps = self._fresh(way, shape)
                training(vae, x, steps, asked.batch, asked.learning_rate, seed).run()
                seconds = time.perf_counter() - begin
                torch.manual_seed(seed)
                bounds = [bound(vae, part) for part in (x[: len(test)], test)]
                found = variance(vae, shared, x, asked.batch, seed)
            yield Row(name, way.unbiased, way.evaluations(vae), steps, *bounds, found, seconds)

    def _fresh(self, way: Way, shape: dict[str, int]) -> tuple[VAE, int]:
        """An untrained model, and the steps that its evaluations leave it."""
        torch.manual_seed(self.settings.seed)
        vae = VAE(way.config(**shape, network=self.settings.network, count=self.settings.latents))
        return vae, max(1, round(self.settings.steps * EVALUATIONS / way.evaluations(vae)))

    def _halfway(self, way: Way, x: Tensor, shape: dict[str, int]) -> VAE:
        asked = self.settings
        with torch.random.fork_rng():
            vae, steps = self._fresh(way, shape)
            run = training(vae, x, steps, asked.batch, asked.learning_rate, asked.seed)
            run.run(lambda fit: fit.step >= steps // 2)
        return copy.deepcopy(vae)

    def tables(self, rows: Sequence[Row]) -> list[Table]:
        """The best bound on training pictures first."""
        return super().tables(sorted(rows, key=lambda row: -row.training))

    def notes(self, rows: Sequence[Row]) -> str:
        agreement = cell(order_agreement(rows), ".2f")
        return f"Rank correlation of low variance and high bound, unbiased ones of the ELBO: {agreement}."


def order_agreement(rows: Sequence[Row]) -> float:
    """Spearman's rank correlation of falling variance and rising training bound.

    Over the unbiased estimators of the same objective that made about as many steps.

    Example:
        >>> rows = [Row(str(i), True, 4, 10, -float(i), -1.0, float(i), 1.0) for i in range(4)]
        >>> order_agreement(rows)
        1.0
    """
    alike = [
        row for row in rows if row.unbiased and row.evaluations <= EVALUATIONS and row.estimator != "vimco"
    ]
    by_variance = sorted(alike, key=lambda row: row.variance)
    by_bound = sorted(alike, key=lambda row: -row.training)
    n = len(alike)
    squared = sum((by_variance.index(row) - by_bound.index(row)) ** 2 for row in alike)
    return 1 - 6 * squared / (n * (n * n - 1)) if n > 1 else 1.0
