"""The autoregressive prior on the pixels themselves."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import torch
from torch import nn

from caselli.engine.task import Losses
from caselli.errors import lookup
from caselli.family.base import Family, FamilyConfig, divergence_of, expect
from caselli.order import ORDERS, Grid
from caselli.prior import Alphabet, PriorConfig, PriorTask
from caselli.prior import Autoregressive as Prior
from caselli.sampling import Sampling, sample
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class AutoregressiveConfig(FamilyConfig):
    """Grey levels and the prior over them."""

    levels: int = 256
    """Grey levels of a number: 256 for the bytes as they are, 2 for black and white."""
    prior: PriorConfig = dataclasses.field(default_factory=lambda: PriorConfig(width=128, depth=4))
    """The sequence model: mixer, order, width, depth."""
    divergence: str = "maximum_likelihood"
    """What the model is fitted by; it has a density, and samples without gradients."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(2 <= self.levels <= 256, "levels", self.levels, "2 to 256")


class Autoregressive(Family):
    r"""One pixel after another, each given those before it, by any mixer and in any order.

    .. math:: \log p(x \mid c) = \sum_t \log p(x_t \mid c, x_{<t})

    The probability is exact; of pictures with `levels` grey levels where those are fewer than 256. `encode`
    gives the mean of the last layer over the pixels.

    Source: van den Oord, Kalchbrenner and Kavukcuoglu 2016, Pixel Recurrent Neural Networks; Chen et al.
    2020, Generative Pretraining from Pixels.

    Example:
        >>> config = AutoregressiveConfig(size=4, levels=4, prior=PriorConfig(width=32, depth=1))
        >>> Autoregressive(config).losses(torch.zeros(2, 1, 4, 4), None, 0).total.requires_grad
        True
    """

    config_kind = AutoregressiveConfig
    density = "density"
    config: AutoregressiveConfig

    def __init__(self, config: AutoregressiveConfig) -> None:
        super().__init__(config)
        divergence_of(self, config.divergence, {})
        order = lookup(ORDERS, "order", config.prior.order)()
        grid = Grid(config.size, config.size, config.channels)
        codebooks = tuple(order.codebook(grid).tolist())
        sizes = (config.levels,) * config.channels
        prior = Prior(config.prior, Alphabet(sizes, codebooks, config.classes))
        self.task = PriorTask(prior, order, grid)

    @property
    def prior(self) -> Prior:
        """The sequence model."""
        return self.task.prior

    def losses(self, pictures: Tensor, labels: Tensor | None, step: int) -> Losses:
        nats = self.task(self._batch(pictures, labels), step).total
        return Losses(nats / math.log(2), {})

    def figures(self, pictures: Tensor, labels: Tensor | None, numbers: list[int]) -> dict[str, Tensor]:
        return {"loss": self.task.validate(self._batch(pictures, labels))["bits_per_code"]}

    def hidden_matrices(self) -> list[nn.Parameter]:
        return self.task.hidden_matrices()

    @torch.no_grad()
    def nats(self, pictures: Tensor, labels: Tensor | None) -> Tensor:
        return -self.prior.log_prob(self._sequence(pictures), self._condition(labels)).sum(1)

    def levels(self) -> int:
        return self.config.levels

    @torch.no_grad()
    def represent(self, pictures: Tensor) -> Tensor:
        seen: list[Tensor] = []
        handle = self.prior.norm.register_forward_hook(lambda module, given, made: seen.append(made))
        try:
            self.prior.logits(self._sequence(pictures), None)
        finally:
            handle.remove()
        return seen[0].float().mean(1)

    def draw(self, seeds: list[int], labels: Tensor | None, options: Sampling) -> Tensor:
        sequence = sample(self.prior, self._condition(labels), seeds, options)
        levels = self.task.order.restore(sequence, self.task.grid)
        return (2 * levels.float() / (self.config.levels - 1) - 1).reshape(-1, *self.config.shape)

    def _batch(self, pictures: Tensor, labels: Tensor | None) -> SimpleNamespace:
        return SimpleNamespace(codes=self._codes(pictures), labels=self._condition(labels))

    def _codes(self, pictures: Float[Tensor, "B C H W"]) -> Int[Tensor, "B *S"]:
        codes = ((pictures + 1) / 2 * (self.config.levels - 1)).round().long()
        return codes.clamp(0, self.config.levels - 1).reshape(len(codes), *self.task.grid.shape)

    def _sequence(self, pictures: Tensor) -> Tensor:
        return self.task.order.flatten(self._codes(pictures), self.task.grid)

    def _condition(self, labels: Tensor | None) -> Tensor | None:
        return labels if self.config.classes else None
