"""Training a prior on codes: maximum likelihood."""

from __future__ import annotations

import math

import torch
from torch import nn

from caselli.engine.task import Losses, Task
from caselli.order import Grid, Order
from caselli.prior.autoregressive import Autoregressive
from caselli.shapes import Tensor


class PriorTask(Task):
    """Mean −log p(code | label, codes before), the label replaced by the null label now and then."""

    def __init__(self, prior: Autoregressive, order: Order, grid: Grid) -> None:
        super().__init__()
        self.prior, self.order, self.grid = prior, order, grid

    def forward(self, batch, step: int) -> Losses:
        nats = self._nats(batch, self._dropped(batch.labels))
        return Losses(nats, {"bits_per_code": nats.detach() / math.log(2)})

    def validate(self, batch) -> dict[str, Tensor]:
        nats = self._nats(batch, batch.labels)
        return {"loss": nats, "bits_per_code": nats / math.log(2)}

    def hidden_matrices(self) -> list[nn.Parameter]:
        layers = self.prior.blocks.modules()
        return [m.weight for m in layers if isinstance(m, nn.Linear) and m.weight.requires_grad]

    def _nats(self, batch, labels: Tensor | None) -> Tensor:
        return -self.prior.log_prob(self.order.flatten(batch.codes, self.grid), labels).mean()

    def _dropped(self, labels: Tensor | None) -> Tensor | None:
        if labels is None:
            return None
        drop = torch.rand(labels.shape, device=labels.device) < self.prior.config.label_dropout
        return labels.masked_fill(drop, self.prior.alphabet.classes)
