"""A running average of a module's weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

from caselli.engine.sharding import local
from caselli.private import interpolate_


class Ema:
    r"""The averaged twin of a module, for validation and for keeping.

    .. math:: \bar\theta \leftarrow \gamma_t \bar\theta + (1 - \gamma_t)\,\theta,
        \qquad \gamma_t = \min\big(\gamma, (1 + t)/(10 + t)\big)

    Floating buffers are averaged too (a codebook must fit the averaged encoder), others copied. With γ = 0
    the twin is the module itself at each update.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Takes the module's weights of after `step` updates into the average."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, values = [], []
        for mine, theirs in zip(_tensors(self.module), _tensors(module), strict=True):
            if mine.is_floating_point():
                averages.append(mine)
                values.append(theirs.detach())
            else:
                mine.copy_(theirs)
        interpolate_(averages, values, 1 - decay)


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    return [*map(local, module.parameters()), *module.buffers()]
