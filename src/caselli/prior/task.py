"""Training a prior on codes: maximum likelihood."""

from __future__ import annotations

import math

import torch
from torch import nn

from caselli.engine.task import Losses, Task
from caselli.order import Grid, Order
from caselli.prior.autoregressive import Autoregressive
from caselli.prior.config import Alphabet
from caselli.shapes import Int, Tensor


class PriorTask(Task):
    """Mean −log p(code | label, codes before).

    Now and then the label is replaced by the null label, and a code before by a random one (taming's `pkeep`:
    a sampled sequence has mistakes in it, and the prior is to go on from them).

    Sources: Ho and Salimans 2022, Classifier-Free Diffusion Guidance; Esser et al. 2021, Taming Transformers.
    """

    def __init__(self, prior: Autoregressive, order: Order, grid: Grid) -> None:
        super().__init__()
        self.prior, self.order, self.grid = prior, order, grid

    def forward(self, batch, step: int) -> Losses:
        sequence = self.order.flatten(batch.codes, self.grid)
        seen = corrupted(sequence, self.prior.alphabet, self.prior.config.code_dropout)
        nats = -self.prior.log_prob(sequence, self._dropped(batch.labels), seen).mean()
        return Losses(nats, {"bits_per_code": nats.detach() / math.log(2)})

    def validate(self, batch) -> dict[str, Tensor]:
        sequence = self.order.flatten(batch.codes, self.grid)
        nats = -self.prior.log_prob(sequence, batch.labels).mean()
        return {"loss": nats, "bits_per_code": nats / math.log(2)}

    def hidden_matrices(self) -> list[nn.Parameter]:
        layers = self.prior.blocks.modules()
        return [m.weight for m in layers if isinstance(m, nn.Linear) and m.weight.requires_grad]

    def _dropped(self, labels: Tensor | None) -> Tensor | None:
        if labels is None:
            return None
        drop = torch.rand(labels.shape, device=labels.device) < self.prior.config.label_dropout
        return labels.masked_fill(drop, self.prior.alphabet.classes)


def corrupted(sequence: Int[Tensor, "B T"], alphabet: Alphabet, share: float) -> Int[Tensor, "B T"]:
    """The sequence with a share of its codes replaced by random ones of the slot's codebook.

    Source: Esser et al. 2021, Taming Transformers for High-Resolution Image Synthesis (pkeep = 1 − share).

    Example:
        >>> corrupted(torch.zeros(1, 3, dtype=torch.int64), Alphabet((5,), (0, 0, 0)), 0.0)
        tensor([[0, 0, 0]])
    """
    if share == 0:
        return sequence
    sizes = torch.tensor([alphabet.sizes[q] for q in alphabet.codebooks], device=sequence.device)
    random = (torch.rand(sequence.shape, device=sequence.device, dtype=torch.float64) * sizes).long()
    return torch.where(torch.rand(sequence.shape, device=sequence.device) < share, random, sequence)
