"""Learning a task: a light loop, and a learning rate of each mixer's own from a tiny grid."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import deque

import torch
from torch import nn
from torch.nn import functional

from caselli.data import generator
from caselli.engine import TrainingConfig
from caselli.engine.optimiser import Optimiser, learning_rate_factor
from caselli.engine.task import Losses, Task
from caselli.errors import UserError
from caselli.evaluate.mixers.model import SequenceModel, Size, build_model
from caselli.evaluate.tasks import NOTHING, Examples, SequenceTask
from caselli.shapes import Tensor

RECENT = 20
"""Steps whose mean tells how far the learning is."""
SOLVED = 0.998
"""Share of right answers in recent steps at which nothing is left to learn."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """What each mixer may spend on a task."""

    steps: int = 600
    """Optimiser steps."""
    minutes: float | None = None
    """Wall-clock budget instead of the steps."""
    batch: int = 32
    """Sequences a step."""
    rates: tuple[float, ...] = (0.01, 0.02)
    """Learning rates; each is tried, and the best goes on."""
    trial: float = 0.2
    """The share of the budget at which the rates are judged by their loss."""
    seed: int = 0
    """Of weights and examples."""
    device: str = "cpu"
    """Where it is spent, such as cuda."""

    def __post_init__(self) -> None:
        if not self.rates or not 0 < self.trial <= 1 or self.steps < 1 or self.batch < 1:
            raise UserError(
                f"{self} was given", "a rate, a trial of 0 to 1, and positive numbers were expected"
            )
        if self.minutes is not None and self.minutes <= 0:
            raise UserError(f"minutes {self.minutes} were given", "more than 0 was expected")


class SequenceLearning(Task):
    """Mean −log p(answer) where something is asked, and the share of right answers."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Examples, step: int) -> Losses:
        found = self.validate(batch)
        return Losses(found["loss"], {"accuracy": found["accuracy"]})

    def validate(self, batch: Examples) -> dict[str, Tensor]:
        asked = batch.answers != NOTHING
        logits, answers = self.model(batch.tokens)[0][asked], batch.answers[asked]
        right = (logits.detach().argmax(-1) == answers).float().mean()
        return {"loss": functional.cross_entropy(logits.float(), answers), "accuracy": right}

    def hidden_matrices(self) -> list[nn.Parameter]:
        return [m.weight for m in self.model.blocks.modules() if isinstance(m, nn.Linear)]


class Learner:
    """One model at one learning rate, on its way through a budget.

    Arguments:
        task: where examples come from; those of a step are a function of seed and step.
        model: moved nowhere: examples follow its device.
        rate: peak learning rate of Muon (matrices in the blocks) and AdamW (the rest).
        budget: steps or minutes, batch and seed.
    """

    def __init__(self, task: SequenceTask, model: SequenceModel, rate: float, budget: Budget) -> None:
        self.task, self.learning, self.rate, self.budget = task, SequenceLearning(model), rate, budget
        self.config = TrainingConfig(
            steps=budget.steps, optimiser="muon", learning_rate=rate, warmup=20, weight_decay=0.0
        )
        self.optimiser = Optimiser(self.learning, self.config)
        self.step, self.seconds = 0, 0.0
        self.losses, self.right = deque(maxlen=RECENT), deque(maxlen=RECENT)

    @property
    def progress(self) -> float:
        """Share of the budget that is spent."""
        if self.budget.minutes is not None:
            return self.seconds / (60 * self.budget.minutes)
        return self.step / self.budget.steps

    @property
    def loss(self) -> float:
        """Of recent steps; infinite where one was not finite."""
        mean = torch.stack(tuple(self.losses)).mean().item()
        return mean if math.isfinite(mean) else math.inf

    def run(self, until: float) -> Learner:
        """Learns until this share of the budget is spent, the task is solved, or the loss is not finite."""
        self.learning.train()
        while self.progress < until:
            start = time.perf_counter()
            self._update()
            if self.step % RECENT == 0 and (self.solved() or self.loss == math.inf):
                break
            self.seconds += time.perf_counter() - start
        return self

    def solved(self) -> bool:
        """Whether recent answers were as good as all right."""
        return len(self.right) == RECENT and torch.stack(tuple(self.right)).mean().item() >= SOLVED

    def _update(self) -> None:
        budget, random = self.budget, generator("learning", self.budget.seed, self.step)
        examples = self.task.examples(budget.batch, random, length=self.task.training_length(random))
        losses = self.learning(on_device_of(self.learning, examples), self.step)
        self.optimiser.zero_grad()
        losses.total.backward()
        self.optimiser.clip(self.config.clip)
        self.optimiser.step(learning_rate_factor(self.config, self.step, self.progress))
        self.step += 1
        self.losses.append(losses.total.detach())
        self.right.append(losses.metrics["accuracy"])


def learn(mixer: str, task: SequenceTask, size: Size, budget: Budget) -> Learner:
    """The learner whose rate had the lowest loss after the trial, at the end of its budget.

    Arguments:
        mixer: as of `build_model`.
        task, size, budget: the same for all mixers of a comparison.

    Example:
        >>> from caselli.evaluate.tasks import TASKS
        >>> size, budget = Size(width=16, depth=1, state=8, parameters=16), Budget(steps=10, batch=2)
        >>> learn("linear", TASKS["induction_heads"](length=8), size, budget).step
        10
    """
    learners = [
        Learner(task, build_model(mixer, task, size, budget.seed).to(budget.device), rate, budget)
        for rate in budget.rates
    ]
    best = min((learner.run(budget.trial) for learner in learners), key=lambda learner: learner.loss)
    return best if best.solved() else best.run(1.0)


@torch.no_grad()
def accuracy(learner: Learner, length: int, sequences: int = 256) -> float:
    """Share of right answers in held-out sequences of a length, the same for every mixer.

    Arguments:
        learner: whose model answers.
        length: T.
        sequences: how many, taken in batches of at most 64 × the task's own length.
    """
    task, learning = learner.task, learner.learning.eval()
    random = generator("held out", learner.budget.seed, length)
    batch = max(1, min(sequences, 64 * task.length // length))
    right = []
    for _ in range(math.ceil(sequences / batch)):
        examples = task.examples(batch, random, length=length, split="held_out")
        right.append(learning.validate(on_device_of(learning, examples))["accuracy"])
    return torch.stack(right).mean().item()


def on_device_of(module: nn.Module, examples: Examples) -> Examples:
    """The examples where the module is."""
    device = next(module.parameters()).device
    return Examples(examples.tokens.to(device), examples.answers.to(device))
