"""AdamW and its schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from caselli.engine.config import TrainingConfig


def build_optimiser(module: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; weight decay only on matrices and kernels."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, foreach=True)


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
