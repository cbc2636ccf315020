"""The part of a discriminator in a tokenizer's training; plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

from caselli.errors import expect


@dataclasses.dataclass(frozen=True)
class AdversarialConfig:
    """The discriminator, its objective, and when it learns and counts."""

    weight: float = 0.0
    """Weight of the adversarial term; 0 for no discriminator."""
    adaptive: bool = True
    """Multiplies the weight by the ratio of the gradients at the decoder's last layer."""
    largest_ratio: float = 1e4
    """Limit of that ratio."""
    objective: str = "hinge"
    """Name of a critic's objective in `caselli.divergence.DIVERGENCES`: hinge, non_saturating and so on."""
    discriminator: str = "patch"
    """Name in `caselli.tokenizer.CRITICS`: patch, stylegan, or projected on an EfficientNet-Lite's maps."""
    width: int = 64
    """Channels of the discriminator's first layer."""
    discriminator_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The discriminator's own arguments, such as layers and norm, or network."""
    augment: bool = False
    """Changes the pictures that the discriminator sees at random (DiffAugment), for few pictures."""
    learning_rate: float = 4e-4
    """Peak learning rate of the discriminator; it falls as the tokenizer's does."""
    betas: tuple[float, float] = (0.5, 0.9)
    """AdamW's averages for the discriminator."""
    r1: float = 0.0
    """Weight of the slope penalty at the data (R1); 0 for none."""
    r1_every: int = 16
    """Steps from one slope penalty to the next, which counts as many times as much."""
    lecam: float = 0.0
    """Weight of the LeCam regulariser; 0 for none."""
    start: float = 0.25
    """Share of the budget after which the discriminator begins to learn."""
    warmup: float = 0.05
    """Share of the budget in which it learns before it counts."""
    ramp: float = 0.1
    """Share of the budget in which its term rises to the full weight."""

    def __post_init__(self) -> None:
        for name in ("weight", "r1", "lecam", "warmup", "ramp", "start"):
            expect(getattr(self, name) >= 0, f"adversarial {name}", getattr(self, name), "0 or more")
        expect(self.largest_ratio > 0, "adversarial largest_ratio", self.largest_ratio, "more than 0")
        expect(self.learning_rate > 0, "adversarial learning_rate", self.learning_rate, "more than 0")
        expect(self.r1_every >= 1, "adversarial r1_every", self.r1_every, "at least 1")
        sum_of = self.start + self.warmup
        expect(sum_of < 1, "adversarial start + warmup", sum_of, "less than 1, the whole budget,")

    def teachers(self) -> tuple[str, ...]:
        """Networks of features that the discriminator looks through.

        Example:
            >>> AdversarialConfig(weight=0.5, discriminator="projected").teachers()
            ('efficientnet-lite1',)
        """
        if not self.weight or self.discriminator != "projected":
            return ()
        return (self.discriminator_options.get("network", "efficientnet-lite1"),)

    def learns(self, progress: float) -> bool:
        """True where the discriminator is trained when this share of the budget is spent.

        Example:
            >>> config = AdversarialConfig(weight=1.0, start=0.25)
            >>> config.learns(0.2), config.learns(0.3)
            (False, True)
        """
        return self.weight > 0 and progress >= self.start

    def counts(self, progress: float) -> float:
        """Share of the weight that counts when this share of the budget is spent, 0 to 1.

        Example:
            >>> config = AdversarialConfig(weight=1.0, start=0.25, warmup=0.25, ramp=0.5)
            >>> [config.counts(p) for p in (0.3, 0.5, 0.75, 1.0)]
            [0.0, 0.0, 0.5, 1.0]
        """
        since = progress - self.start - self.warmup
        if since < 0 or not self.weight:
            return 0.0
        return min(1.0, since / self.ramp) if self.ramp else 1.0
