"""Estimators of the gradient of a 200-dimensional Bernoulli objective: evaluations of f, and time.

Every method is compared with what it needs: `evaluations` counts the calls of f by samples, `by formula` is
the method's own number, `over f` is the time of the estimate over that of these evaluations alone (with f's
backward pass where the method needs it). Below, a few against `torch.distributions` used directly and against
loops over samples written by hand.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch import distributions as D

from bench.measure import in_turn
from caselli.estimator import ESTIMATORS, Score

LATENTS, BATCH, SAMPLES, ROUNDS = 200, 24, 16, 20
SAMPLED = (torch.rand(LATENTS + 1, BATCH, LATENTS) > 0.5).float()
METHODS = (
    "score",
    "nvil",
    "vimco",
    "rebar",
    "relax",
    "arm",
    "disarm",
    "measure_valued",
    "gumbel_softmax",
    "straight_through_gumbel",
    "gumbel_rao",
    "straight_through",
    "reinmax",
)


class Objective:
    """A decoder's log likelihood, and how often it was evaluated."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.weight = torch.randn(LATENTS, 784) / LATENTS**0.5
        self.pixels = (torch.rand(BATCH, 784) > 0.5).float()
        self.rows = 0

    def __call__(self, z: Tensor) -> Tensor:
        self.rows += z.shape[0] if z.ndim == 3 else 1
        logits = z @ self.weight
        loss = torch.nn.functional.binary_cross_entropy_with_logits
        return -loss(logits, self.pixels.expand_as(logits), reduction="none").sum(-1)


def with_torch(f: Objective, logits: Tensor) -> None:
    """The score function by `torch.distributions`, batched."""
    p = D.Independent(D.Bernoulli(logits=logits), 1)
    z = p.sample((SAMPLES,))
    values = f(z)
    baseline = (values.sum(0) - values) / (SAMPLES - 1)
    ((values - baseline).detach() * p.log_prob(z)).mean(0).sum().backward()


def with_a_loop(f: Objective, logits: Tensor) -> None:
    """The score function, one sample at a time."""
    p = D.Independent(D.Bernoulli(logits=logits), 1)
    draws = [p.sample() for _ in range(SAMPLES)]
    values = [f(z) for z in draws]
    total = sum(values)
    terms = [
        ((v - (total - v) / (SAMPLES - 1)).detach() * p.log_prob(z)).sum()
        for v, z in zip(values, draws, strict=True)
    ]
    (sum(terms) / SAMPLES).backward()


def disarm_loop(f: Objective, logits: Tensor) -> None:
    """DisARM, one pair at a time."""
    total = torch.zeros_like(logits)
    with torch.no_grad():
        for _ in range(SAMPLES):
            u = torch.rand_like(logits)
            first, second = (u > torch.sigmoid(-logits)).float(), (u < torch.sigmoid(logits)).float()
            difference = (f(first) - f(second))[:, None]
            total += difference * (first - second) * torch.sigmoid(logits.abs()) / 2
    logits.backward(total / SAMPLES)


def straight_through_loop(f: Objective, logits: Tensor) -> None:
    """Straight-through, one sample at a time."""
    for _ in range(SAMPLES):
        q = torch.sigmoid(logits)
        hard = torch.bernoulli(q.detach())
        (f(hard + q - q.detach()).sum() / SAMPLES).backward()


def run_ours(estimator: Callable, f: Objective, logits: Tensor, samples: int) -> None:
    """Estimate and backward pass, as in training."""
    p = D.Independent(D.Bernoulli(logits=logits), 1)
    estimate = estimator(f, p, samples)
    (estimate.surrogate + estimate.auxiliary_loss).backward()


def run_f(f: Objective, logits: Tensor, rows: int, differentiated: bool) -> None:
    """The evaluations of f alone, at samples that are there already."""
    values = f(SAMPLED[:rows].requires_grad_(differentiated))
    if differentiated:
        values.sum().backward()


def measure(name: str, f: Objective, logits: Tensor) -> str:
    """One row of the table."""
    samples = 1 if name == "measure_valued" else SAMPLES
    p = D.Independent(D.Bernoulli(logits=logits), 1)
    estimator = ESTIMATORS[name].fitting(p)
    f.rows = 0
    run_ours(estimator, f, logits, samples)
    rows, formula = f.rows, estimator.evaluations(p, samples)
    ours, alone = in_turn(
        [
            lambda: run_ours(estimator, f, logits, samples),
            lambda: run_f(f, logits, formula, estimator.needs_gradient),
        ],
        ROUNDS,
    )
    return f"{name:<26}{rows:<13}{formula:<12}{rows / formula:<8.2f}{1000 * ours:<9.2f}{ours / alone:.2f}"


def run() -> None:
    """Prints the costs and the ratios."""
    f = Objective()
    logits = torch.zeros(BATCH, LATENTS, requires_grad=True)
    print(f"{LATENTS} Bernoulli latents, batch {BATCH}, {SAMPLES} samples, {torch.get_num_threads()} threads")
    print(f"{'estimator':<26}{'evaluations':<13}{'by formula':<12}{'ratio':<8}{'ms':<9}over f")
    for name in METHODS:
        print(measure(name, f, logits))
    print("\nagainst the same estimate written by hand (above 1: ours is faster)")
    score = Score("leave_one_out")
    peers = {
        "score, torch.distributions": (score, with_torch),
        "score, loop over samples": (score, with_a_loop),
        "disarm, loop over samples": (ESTIMATORS["disarm"](), disarm_loop),
        "straight_through, loop over samples": (ESTIMATORS["straight_through"](), straight_through_loop),
    }
    for title, (estimator, theirs) in peers.items():
        ours, other = in_turn(
            [lambda e=estimator: run_ours(e, f, logits, SAMPLES), lambda t=theirs: t(f, logits)], ROUNDS
        )
        print(f"{title:<38}{1000 * ours:7.2f} ms   {other / ours:5.2f} times")


if __name__ == "__main__":
    run()
