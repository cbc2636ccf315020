"""Training a prior on codes: by maximum likelihood, or by the objective of its kind."""

from __future__ import annotations

import math

import torch
from torch import nn

from caselli.engine.task import Losses, Task
from caselli.figures import Figure
from caselli.order import Grid, Order
from caselli.prior.base import Prior
from caselli.prior.conditions import Conditions
from caselli.prior.config import Alphabet
from caselli.shapes import Bool, Int, Tensor


class PriorTask(Task):
    """Mean −log p(code | conditions, codes before).

    In random shares of the sequences each condition is left out, independently, and in a share of the places
    an input code is replaced by a random one (taming's `pkeep`: sampled sequences have mistakes in them, and
    the prior must go on from those).

    Arguments:
        prior: to be trained.
        order: codes ⟷ sequence.
        grid: shape of one picture's codes.

    Sources: Ho and Salimans 2022, Classifier-Free Diffusion Guidance; Esser et al. 2021, Taming Transformers.
    """

    figures = Task.figures | {"bits_per_code": Figure("bits per code", ".2f", "bits", section="Bits")}

    def __init__(self, prior: Prior, order: Order, grid: Grid) -> None:
        super().__init__()
        self.prior, self.order, self.grid = prior, order, grid
        config = prior.config
        self.shares = {
            "labels": config.label_dropout,
            "text": config.text_dropout,
            "codes": config.picture_dropout,
        }

    def forward(self, batch, step: int) -> Losses:
        sequence = self.order.flatten(batch.codes, self.grid)
        seen = corrupted(sequence, self.prior.alphabet, self.prior.config.code_dropout)
        seen = self.prior.code_head.noisy(seen)
        conditions = self.conditions(batch).dropped(self.shares).blotted(self.prior.config.word_dropout)
        nats = self.prior.training_loss(sequence, conditions, seen, self.progress)
        return Losses(nats, {"bits_per_code": nats.detach() / math.log(2)})

    def validate(self, batch) -> dict[str, Tensor]:
        sequence = self.order.flatten(batch.codes, self.grid)
        conditions = self.conditions(batch, torch.Generator().manual_seed(0))
        nats = self.prior.validation_loss(sequence, conditions)
        return {"loss": nats, "bits_per_code": nats / math.log(2)}

    def hidden_matrices(self) -> list[nn.Parameter]:
        return self.prior.hidden_matrices()

    def blocks(self) -> list[nn.Module]:
        return list(self.prior.blocks)

    def conditions(self, batch, random: torch.Generator | None = None) -> Conditions:
        """The conditions of a batch.

        Arguments:
            batch: codes, with labels, captions and other pictures' codes where there are any.
            random: source of the visible parts; None for torch's own.
        """
        vocabulary, picture, text = self.prior.alphabet.text, None, None
        if vocabulary is not None and batch.captions is not None:
            text = vocabulary.encode(batch.captions).to(batch.codes.device)
        if self.prior.config.condition_picture == "visible_part":
            visible = visible_parts(len(batch.codes), self.grid.height, self.grid.width, random)
            visible = visible.to(batch.codes.device).flatten(1).repeat(1, self.grid.codebooks)
            picture = batch.codes.flatten(1).masked_fill(~visible, -1)
        elif self.prior.alphabet.picture:
            picture = batch.condition
        return Conditions(batch.labels, text, picture)


def visible_parts(
    batch: int, height: int, width: int, random: torch.Generator | None = None
) -> Bool[Tensor, "B H W"]:
    """Random regions, True where a code is visible: a rectangle, or all but one.

    Half of the rectangles' sides lie at the picture's own, so that halves and bands are frequent.

    Example:
        >>> visible_parts(4, 8, 8).shape
        torch.Size([4, 8, 8])
    """

    def interval(size: int) -> Tensor:
        ends = torch.randint(size + 1, (batch, 2), generator=random).sort(1).values
        whole = torch.rand(batch, 2, generator=random) < 0.5
        ends = torch.where(whole, torch.tensor([0, size]), ends)
        place = torch.arange(size)
        return (place >= ends[:, :1]) & (place < ends[:, 1:])

    inside = interval(height)[:, :, None] & interval(width)[:, None, :]
    return inside ^ (torch.rand(batch, 1, 1, generator=random) < 0.5)


def corrupted(sequence: Int[Tensor, "B T"], alphabet: Alphabet, share: float) -> Int[Tensor, "B T"]:
    """A sequence with a share of its codes replaced by random ones of the slot's codebook.

    Source: Esser et al. 2021, Taming Transformers for High-Resolution Image Synthesis (pkeep = 1 − share).

    Example:
        >>> corrupted(torch.zeros(1, 3, dtype=torch.int64), Alphabet((5,), (0, 0, 0)), 0.0)
        tensor([[0, 0, 0]])
    """
    if share == 0:
        return sequence
    sizes = torch.tensor(alphabet.slot_sizes, device=sequence.device)
    random = (torch.rand(sequence.shape, device=sequence.device, dtype=torch.float64) * sizes).long()
    return torch.where(torch.rand(sequence.shape, device=sequence.device) < share, random, sequence)
