"""Training of a sequence model on a task, at the best learning rate of a small grid."""

from __future__ import annotations

import dataclasses
import math
from collections import deque

import torch
from torch import nn
from torch.nn import functional

from caselli.compare.sequence_model import SequenceModel, Size, build_model
from caselli.compare.tasks import NOTHING, Examples, SequenceTask
from caselli.data import generator
from caselli.engine import OPTIMISERS, Fit, Generated, Losses, Task, TrainingConfig, machine
from caselli.errors import UnknownName, UserError
from caselli.shapes import Tensor

RECENT = 20
"""Number of recent steps that are averaged."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """Training of each mixer on a task."""

    steps: int = 600
    """Training steps."""
    minutes: float | None = None
    """Minutes of learning, instead of the steps."""
    batch: int = 32
    """Sequences in a step."""
    rates: tuple[float, ...] = dataclasses.field(default=(0.01, 0.02), metadata={"separator": ","})
    """Learning rates with commas between; each is tried, and the best goes on."""
    optimiser: str = "muon"
    """muon (matrices in the blocks, AdamW for the rest) or adamw."""
    whole: float = 1.0
    """Share of the budget after which only sequences of the whole length are learnt from."""
    trial: float = 0.2
    """Share of the budget after which the rates are judged by their loss."""
    enough: float = 0.998
    """Share of recent answers that are right at which learning ends; above 1 all of the budget is spent."""
    seed: int = 0
    """Seed of weights and examples."""
    device: str = "cpu"
    """Device, such as cuda."""

    def __post_init__(self) -> None:
        shares = 0 < self.trial <= 1 and 0 <= self.whole <= 1
        if not self.rates or not shares or self.steps < 1 or self.batch < 1:
            raise UserError(
                f"{self} was given", "a rate, shares of 0 to 1, and positive numbers were expected"
            )
        if self.optimiser not in OPTIMISERS:
            raise UnknownName("optimiser", self.optimiser, OPTIMISERS)
        if self.minutes is not None and self.minutes <= 0:
            raise UserError(f"minutes {self.minutes} were given", "more than 0 was expected")

    def shared_by(self, parts: int) -> Budget:
        """The budget of each of `parts` learnings, less the minutes for the trials of other rates."""
        if self.minutes is None:
            return self
        trials = 1 + (len(self.rates) - 1) * self.trial
        return dataclasses.replace(self, minutes=self.minutes / parts / trials)


class SequenceLearning(Task):
    """Mean −log p(answer) at the questions, and the share of right answers."""

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
        task: source of the examples, which are a function of seed and step.
        model: trained in place, on the budget's device.
        rate: peak learning rate.
        budget: steps or minutes, optimiser, lengths, batch and seed.
    """

    def __init__(self, task: SequenceTask, model: SequenceModel, rate: float, budget: Budget) -> None:
        self.task, self.learning, self.rate, self.budget = task, SequenceLearning(model), rate, budget
        spent = {"steps": budget.steps, "minutes": budget.minutes}
        spent |= {"optimiser": budget.optimiser}
        config = TrainingConfig(**spent, learning_rate=rate, warmup=20, weight_decay=0.0)
        where = machine("float32", budget.device)
        self.fit = Fit(self.learning, Generated(self._examples), config, where, budget.seed)
        self.losses, self.right = deque(maxlen=RECENT), deque(maxlen=RECENT)

    @property
    def loss(self) -> float:
        """Mean loss of recent steps; infinite where one was not finite."""
        mean = torch.stack(tuple(self.losses)).mean().item()
        return mean if math.isfinite(mean) else math.inf

    def run(self, share: float) -> Learner:
        """Learns until this share of the budget is spent, the task is solved, or the loss is not finite."""
        self.fit.run(lambda fit: self._is_done(share))
        return self

    def solved(self) -> bool:
        """True when nearly all recent answers were right."""
        return len(self.right) == RECENT and (
            torch.stack(tuple(self.right)).mean().item() >= self.budget.enough
        )

    def _is_done(self, share: float) -> bool:
        self.losses.append(self.fit.figures["loss"])
        self.right.append(self.fit.figures["accuracy"])
        # figures on a device are read rarely, since every read waits for it
        looked = self.fit.step % RECENT == 0
        return self.fit.progress >= share or (looked and (self.solved() or self.loss == math.inf))

    def _examples(self, step: int) -> Examples:
        random = generator("learning", self.budget.seed, step)
        whole = self.fit.progress >= self.budget.whole
        length = self.task.length if whole else self.task.training_length(random)
        return self.task.examples(self.budget.batch, random, length=length)


def learn(mixer: str, task: SequenceTask, size: Size, budget: Budget) -> Learner:
    """The learner whose rate had the lowest loss after the trial, at the end of its budget.

    Arguments:
        mixer: a name that `build_model` takes.
        task, size, budget: task, size and budget shared by all mixers of a comparison.

    Example:
        >>> from caselli.compare.tasks import TASKS
        >>> size, budget = Size(width=16, depth=1, state=8, parameters=16), Budget(steps=10, batch=2)
        >>> learn("linear", TASKS["induction_heads"](length=8), size, budget).fit.step
        10
    """
    learners = [
        Learner(task, build_model(mixer, task, size, budget.seed), rate, budget) for rate in budget.rates
    ]
    best = min((learner.run(budget.trial) for learner in learners), key=lambda learner: learner.loss)
    return best if best.solved() else best.run(1.0)


@torch.no_grad()
def accuracy(learner: Learner, length: int, sequences: int = 256) -> float:
    """Share of right answers in held-out sequences of a length, which are the same for every mixer.

    Arguments:
        learner: learner of the model.
        length: T.
        sequences: number of sequences, in batches of at most 64 × the task's own length.
    """
    task, learning = learner.task, learner.learning.eval()
    random = generator("held out", learner.budget.seed, length)
    batch = max(1, min(sequences, 64 * task.length // length))
    right = []
    for _ in range(math.ceil(sequences / batch)):
        examples = task.examples(batch, random, length=length, split="held_out")
        tokens, answers = (x.to(learner.budget.device) for x in (examples.tokens, examples.answers))
        right.append(learning.validate(Examples(tokens, answers))["accuracy"])
    return torch.stack(right).mean().item()
