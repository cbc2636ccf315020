"""A regulariser of discriminators for few data."""

from __future__ import annotations

import torch
from torch import nn

from caselli.errors import UserError
from caselli.shapes import Float, Tensor


class LeCam(nn.Module):
    r"""Scores are kept near the running average of the other side's.

    .. math:: E\,\mathrm{relu}(D(x) - \bar D_y)^2 + E\,\mathrm{relu}(\bar D_x - D(y))^2

    with :math:`\bar D_x`, :math:`\bar D_y` the averages of the scores of data and of made pictures. Once the
    two are apart it holds them together, which keeps a discriminator from learning few data by heart. The
    averages are buffers, so a resumed run has them.

    Arguments:
        decay: decay of the averages, in [0, 1); at step t it is min(decay, (1 + t) / (10 + t)).

    Source: Tseng et al. 2021, Regularizing Generative Adversarial Networks under Limited Data.

    Example:
        >>> lecam = LeCam()
        >>> lecam.update(torch.tensor(1.0), torch.tensor(-1.0))
        >>> lecam(torch.tensor([1.0]), torch.tensor([-1.0]))
        tensor(8.)
    """

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise UserError(f"decay {decay} was given", "a number in [0, 1) was expected")
        self.decay = decay
        self.register_buffer("real", torch.zeros(()))
        self.register_buffer("fake", torch.zeros(()))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, real: Float[Tensor, ""], fake: Float[Tensor, ""]) -> None:
        """Takes the mean scores of a batch, over all ranks, into the averages; the first ones as they are."""
        step = self.step.to(self.real.dtype)
        keep = ((1 + step) / (10 + step)).clamp(max=self.decay) * (step > 0)
        self.real.lerp_(real.to(self.real.dtype), 1 - keep)
        self.fake.lerp_(fake.to(self.fake.dtype), 1 - keep)
        self.step += 1

    def forward(self, real: Float[Tensor, "..."], fake: Float[Tensor, "..."]) -> Float[Tensor, ""]:
        above = (real - self.fake).relu().square().mean()
        return above + (self.real - fake).relu().square().mean()
