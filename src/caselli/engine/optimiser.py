"""AdamW, Muon for the matrices inside a network, and the schedule of both."""

from __future__ import annotations

import math
from typing import Any

import torch

from caselli.engine.config import TrainingConfig
from caselli.engine.task import Task


class Optimiser:
    """The optimisers of a task as one: AdamW, and Muon beside it where the configuration asks for it.

    Muon replaces the gradient of a matrix by the nearest orthogonal one, so that every direction is learned
    at the same pace; its update is scaled to AdamW's, so both share a learning rate. It takes the task's
    `hidden_matrices`, AdamW the rest, with weight decay on what has two axes or more.

    Sources: Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization; Jordan et al. 2024, Muon: An
    optimizer for hidden layers in neural networks; Liu et al. 2025, Muon is Scalable for LLM Training.
    """

    def __init__(self, task: Task, config: TrainingConfig) -> None:
        matrices = task.hidden_matrices() if config.optimiser == "muon" else []
        taken = {id(p) for p in matrices}
        rest = [p for p in task.parameters() if p.requires_grad and id(p) not in taken]
        groups = [
            {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        rate = config.learning_rate
        self.parts: list[torch.optim.Optimizer] = []
        if groups:
            self.parts.append(torch.optim.AdamW(groups, lr=rate, betas=config.betas, foreach=True))
        if matrices:
            decay = config.weight_decay
            muon = torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
            self.parts.append(muon)

    def step(self, learning_rate: float) -> None:
        """Moves the weights by the gradients."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate
            part.step()

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """What a resumed run needs."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Takes up what `state_dict` gave."""
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)


def learning_rate_factor(config: TrainingConfig, step: int, progress: float) -> float:
    r"""Share of the peak learning rate: linear warm-up, then a cosine over the budget.

    .. math:: \min\big(1, \tfrac{t+1}{w}\big)\Big(f + (1 - f)\,\tfrac{1 + \cos \pi p}{2}\Big)

    with t the step, w `warmup`, p the share of the budget that is spent, f `final_learning_rate`.

    Example:
        >>> [round(learning_rate_factor(TrainingConfig(warmup=2), t, t / 4), 3) for t in range(5)]
        [0.5, 0.854, 0.5, 0.146, 0.0]
    """
    floor = config.final_learning_rate
    cosine = floor + (1 - floor) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
    return min(1.0, (step + 1) / max(1, config.warmup)) * cosine
