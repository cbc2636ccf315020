"""What a prior is made of; plain data, stored beside its weights."""

from __future__ import annotations

import dataclasses
from typing import Any

from caselli.errors import UserError


@dataclasses.dataclass(frozen=True)
class PriorConfig:
    """Architecture of an autoregressive prior."""

    mixer: list[str] | str = "attention"
    """Names in `caselli.mixer.MIXERS`, repeated over the layers in turn: one name, or a list for a hybrid."""
    mixer_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The mixers' own arguments, such as heads; given to those that know them."""
    order: str = "raster"
    """Name in `caselli.order.ORDERS`."""
    width: int = 256
    """E, the model's width."""
    depth: int = 6
    """Layers; each is a mixer and an MLP."""
    expansion: float = 4.0
    """The MLP's inner width, in units of `width`."""
    dropout: float = 0.0
    """Share of each layer's output that is dropped in training."""
    label_dropout: float = 0.1
    """Share of the labels that are replaced by the null label in training; 0 forgoes guidance."""
    code_dropout: float = 0.0
    """Share of the codes that the prior sees in training that are replaced by random ones; what it predicts
    stays as it is."""

    def __post_init__(self) -> None:
        if not self.mixers():
            raise UserError("no mixer was given", "a name or a list of names was expected")
        for name in ("width", "depth"):
            if getattr(self, name) < 1:
                raise UserError(f"prior {name} {getattr(self, name)} was given", "at least 1 was expected")
        for name in ("dropout", "label_dropout", "code_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"prior {name} {getattr(self, name)} was given", "0 up to 1 was expected")

    def mixers(self) -> list[str]:
        """The names, in turn.

        Example:
            >>> PriorConfig(mixer="attention").mixers()
            ['attention']
        """
        return [self.mixer] if isinstance(self.mixer, str) else list(self.mixer)


@dataclasses.dataclass(frozen=True)
class Alphabet:
    """What a prior speaks of: slots, the codes that each may hold, and labels."""

    sizes: tuple[int, ...]
    """Codes of each codebook."""
    codebooks: tuple[int, ...]
    """The codebook of each of the T slots."""
    classes: int = 0
    """Labels; 0 for none."""

    @property
    def length(self) -> int:
        """T."""
        return len(self.codebooks)
