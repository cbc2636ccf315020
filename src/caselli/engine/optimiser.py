"""AdamW, Muon for the matrices inside a network, and the schedule of both."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import Parameter

from caselli.engine.config import TrainingConfig
from caselli.engine.muon import Muon
from caselli.engine.sharding import shared_out, whole
from caselli.engine.task import Task
from caselli.shapes import Tensor


class Optimiser:
    """The optimisers of a task as one: AdamW, and Muon beside it where the configuration asks for it.

    Muon replaces the gradient of a matrix by the nearest orthogonal one, so that every direction is learned
    at the same pace; its update is scaled to AdamW's, so both share a learning rate. It takes the task's
    `hidden_matrices`, AdamW the rest, with weight decay on what has two axes or more.

    Every part of a task has AdamW groups of its own, with its own rate, and is clipped on its own: the
    gradients of two players are not of one scale.

    Arguments:
        task: what is trained.
        config: the optimiser and its rates.
        precision: the type that Muon's matrix products take.

    Sources: Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization; `Muon` names its own.
    """

    def __init__(self, task: Task, config: TrainingConfig, precision: torch.dtype) -> None:
        apart = task.parts()
        taken = {id(p) for part in apart for p in part.parameters}
        own = [p for p in task.parameters() if p.requires_grad and id(p) not in taken]
        matrices = task.hidden_matrices() if config.optimiser == "muon" else []
        for_muon = {id(p) for p in matrices}
        rest = [p for p in own if id(p) not in for_muon]
        self.clipped = {"": own} | {f"{part.name}_": part.parameters for part in apart}
        groups = _groups(rest, config.learning_rate, config.betas, config.weight_decay)
        for part in apart:
            groups += _groups(part.parameters, part.learning_rate, part.betas, part.weight_decay)
        self.parts: list[torch.optim.Optimizer] = []
        if groups:
            self.parts.append(torch.optim.AdamW(groups, foreach=True))
        if matrices:
            self.parts.append(Muon(matrices, config.learning_rate, config.weight_decay, precision))
        names = {id(p): name for name, p in task.named_parameters(remove_duplicate=False)}
        self.names = [[names[id(p)] for g in part.param_groups for p in g["params"]] for part in self.parts]
        self.peaks = [[group["lr"] for group in part.param_groups] for part in self.parts]

    def clip(self, largest: float) -> dict[str, Tensor]:
        """Scales the gradients of each part down to a norm of `largest`; the norms before, by name."""
        return {
            f"{name}gradient_norm": whole(torch.nn.utils.clip_grad_norm_(parameters, largest))
            for name, parameters in self.clipped.items()
        }

    def step(self, factor: float) -> None:
        """Moves the weights by the gradients, each part at this share of its peak learning rate."""
        for part, peaks in zip(self.parts, self.peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            part.step()

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """The averages of every parameter, by its name in the task."""
        return {
            name: part.state_dict()["state"].get(number, {})
            for part, names in zip(self.parts, self.names, strict=True)
            for number, name in enumerate(names)
        }

    def load_state_dict(self, states: dict[str, dict[str, Any]] | list[dict[str, Any]]) -> None:
        """Takes up what `state_dict` gave.

        Arguments:
            states: averages by name, or the list of an old checkpoint, each optimiser's state by position.
        """
        for place, (part, names) in enumerate(zip(self.parts, self.names, strict=True)):
            if isinstance(states, list):
                found = states[place]["state"]
            else:
                own = [p for group in part.param_groups for p in group["params"]]
                average = "momentum_buffer" if isinstance(part, Muon) else "exp_avg"
                found = {
                    number: {key: shared_out(value, p) for key, value in states[name].items()}
                    for number, (name, p) in enumerate(zip(names, own, strict=True))
                    if average in states.get(name, {})  # another optimiser's begin anew
                }
            part.load_state_dict({"state": found, "param_groups": part.state_dict()["param_groups"]})


def _groups(
    parameters: list[Parameter], rate: float, betas: tuple[float, float], weight_decay: float
) -> list[dict[str, Any]]:
    """AdamW's groups: weight decay on what has two axes or more."""
    matrices = {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay}
    others = {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}
    return [{**group, "lr": rate, "betas": betas} for group in (matrices, others) if group["params"]]


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
