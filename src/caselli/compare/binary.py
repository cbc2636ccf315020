"""A VAE of binary latents: trained, bounded, and the variance of its gradient."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import torch

from caselli.data import Batch
from caselli.engine import Fit, Generated, TrainingConfig
from caselli.estimator import ESTIMATORS
from caselli.family import VAE, FamilyTask, VAEConfig
from caselli.shapes import Float, Tensor

EVALUATIONS = 4
"""Evaluations of the decoder for each picture of a step, about."""
REPEATS, ADAPTATION = 60, 60
"""Gradients that a variance is measured from, after as many steps of the estimator's own parameters."""
ADAPTATION_RATE = 3e-3
IMPORTANCE = 100
"""Samples of the bound."""


@dataclasses.dataclass(frozen=True)
class Way:
    """How one estimator is used."""

    estimator: str
    samples: int
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    objective: str = "elbo"

    @property
    def unbiased(self) -> bool:
        """An unbiased gradient of the objective that it is given: of several samples for `vimco`."""
        return ESTIMATORS[self.estimator].unbiased

    def config(self, **shape: Any) -> VAEConfig:
        """The model, whose `channels`, `size`, `network` and `count` of latents are given."""
        return VAEConfig(
            **shape,
            latents="bernoulli",
            likelihood="bernoulli",
            estimator=self.estimator,
            estimator_options=self.options,
            objective=self.objective,
            objective_options={"samples": self.samples},
        )

    def evaluations(self, vae: VAE) -> int:
        """Evaluations of the decoder for a picture in one step."""
        q = vae.space.posterior(torch.zeros(1, vae.space.inputs))
        return vae.estimator.evaluations(q, self.samples)


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


def training(vae: VAE, x: Tensor, steps: int, batch: int, learning_rate: float, seed: int) -> Fit:
    """A training of the model by Adam along a cosine, at its beginning.

    Arguments:
        vae: trained in place.
        x: pictures in [-1, 1].
        steps: number of steps.
        batch: pictures in a step.
        learning_rate: at the start.
        seed: seed of pictures and noise.
    """
    random = torch.Generator().manual_seed(seed)
    config = TrainingConfig(
        steps=steps, learning_rate=learning_rate, betas=(0.9, 0.999), warmup=0, weight_decay=0.0, clip=0.0
    )
    return Fit(FamilyTask(vae), Generated(lambda step: _batch(x, batch, random)), config, seed=seed)


def bound(vae: VAE, x: Tensor) -> float:
    """Mean importance-weighted bound of log p, in nats a picture."""
    return torch.cat([vae.eval().bound(part, IMPORTANCE) for part in x.split(200)]).mean().item()


def variance(vae: VAE, shared: VAE, x: Tensor, batch: int, seed: int) -> float:
    """Variance of the gradient in the encoder of `shared`, by the estimator of `vae`, summed, in nats².

    On one batch; the estimator's own parameters are fitted there first.
    """
    twin = copy.deepcopy(shared)
    twin.estimator, twin.objective = copy.deepcopy(vae.estimator), vae.objective
    pictures = _batch(x, batch, torch.Generator().manual_seed(seed + 1)).pictures
    own = list(twin.estimator.parameters())
    adam = torch.optim.Adam(own, lr=ADAPTATION_RATE) if own else None
    for _ in range(ADAPTATION if len(twin.estimator.state_dict()) else 0):
        total = twin.losses(pictures, None, 0).total
        if adam is not None:
            adam.zero_grad()
            total.backward(inputs=own)
            adam.step()
    unit = twin.config.dimensions * math.log(2)
    rows = torch.stack([_gradient(twin, pictures) for _ in range(REPEATS)])
    return (unit**2 * rows.var(0).sum()).item()


def _batch(x: Tensor, size: int, random: torch.Generator) -> Batch:
    indices = torch.randint(len(x), (size,), generator=random)
    return Batch(x[indices], None, None, indices)


def _gradient(vae: VAE, x: Tensor) -> Float[Tensor, "n"]:
    total = vae.losses(x, None, 0).total
    return torch.cat([g.flatten() for g in torch.autograd.grad(total, list(vae.head.parameters()))])
