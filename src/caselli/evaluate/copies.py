"""Copies: samples that lie nearer to a training picture than to any held-out one."""

from __future__ import annotations

import dataclasses

import torch

from caselli.evaluate.rows import feature_rows
from caselli.figures import figure
from caselli.shapes import Float, Tensor

ROWS = 256
"""Rows of a distance matrix held at a time."""


@dataclasses.dataclass(frozen=True)
class Copies:
    """Samples beside training and held-out pictures."""

    nearer_to_training: float = figure("samples nearest to a training picture", ".1%")
    """Share of samples whose nearest training picture is nearer than any held-out one."""
    nearer_by_chance: float = figure("that share by chance", ".1%")
    """Share of training pictures among all of them: what samples that copy nothing come to."""
    samples: int = figure("samples", ",")
    independent: float
    """Number of samples that would tell as much if each had a nearest picture of its own."""

    @property
    def many(self) -> bool:
        """True where the share lies more than three standard deviations above chance.

        Chance: which of the real pictures are the training's. Samples with the same nearest picture tell
        nothing of their own.
        """
        chance = self.nearer_by_chance
        return self.nearer_to_training > chance + 3 * (chance * (1 - chance) / self.independent) ** 0.5


def copies(
    made: Float[Tensor, "m F"], training: Float[Tensor, "n F"], held_out: Float[Tensor, "k F"]
) -> Copies:
    """Share of samples whose nearest training picture is nearer than any held-out one.

    Arguments:
        made: features of the samples.
        training, held_out: features of real pictures by the same network.

    Example:
        >>> x = torch.arange(8.0)[:, None]
        >>> copies(x + 0.1, x, x + 0.5).nearer_to_training
        1.0
    """
    made, training, held_out = (feature_rows(x) for x in (made, training, held_out))
    real = torch.cat([training, held_out])
    nearest = torch.cat([torch.cdist(rows, real).argmin(1) for rows in made.split(ROWS)])
    share = float((nearest < len(training)).double().mean())
    independent = len(made) ** 2 / float(torch.bincount(nearest).double().square().sum())
    return Copies(share, len(training) / len(real), len(made), independent)
