"""The way in which a run is fine-tuned on new pictures; plain data, stored in the new run's folder."""

from __future__ import annotations

import dataclasses

from caselli.engine import TrainingConfig
from caselli.errors import expect
from caselli.figures import figure
from caselli.run.derived import DerivedConfig

TUNED = "tune.json"
"""File in the folder of a run that was fine-tuned: how that was done."""
TOKENIZERS = ("frozen", "decoder")
FEW = 2048
"""Views of all pictures that a prior learns from, at least, by default."""


@dataclasses.dataclass(frozen=True)
class TuneConfig(DerivedConfig):
    """The parts that are trained on the new pictures, the budget, and the replay of old ones."""

    file = TUNED

    rank: int = 8
    """Rank of the adapters on the prior's linear layers; 0 trains all weights."""
    tokenizer: str = "frozen"
    """frozen, or decoder: the tokenizer's decoder learns the new pictures first; the codes stay."""
    replay: float = 0.25
    """Share of the prior's training samples that are drawn from the old run, so that it forgets less."""
    minutes: float | None = None
    """Wall-clock budget, instead of steps; the decoder takes half of it where it is trained."""
    steps: int = 600
    """Steps of each stage, at most."""
    patience: int = 4
    """Validations without fewer held-out bits after which the training ends, of 20 in all; 0 for none."""
    batch: int = 64
    """Samples of a step."""
    learning_rate: float = 0.0
    """Peak of the learning rate; 0 for 0.002 with adapters, 0.0005 with all weights and for the decoder."""
    flip: bool = False
    """Mirrors half of the pictures left to right: not for text, hands, or anything else that has a side."""
    shift: int = 1
    """Largest random shift in pixels; 0 for pictures whose place in the frame matters."""
    views: int = 0
    """Varied versions of each picture that the prior learns from; 0 for as many as few pictures need."""
    label: str = ""
    """Label of new pictures that have none, as those of a single folder; empty for no label."""
    seed: int = 0
    """Seed of everything random."""

    def __post_init__(self) -> None:
        expect(self.tokenizer in TOKENIZERS, "tokenizer", self.tokenizer, f"one of {', '.join(TOKENIZERS)}")
        expect(0 <= self.replay < 1, "replay", self.replay, "a share from 0 up to, not including, 1")
        least = min(self.rank, self.patience, self.learning_rate, self.shift, self.views)
        expect(least >= 0, "rank, patience, learning rate, shift or views", least, "0 or more")
        self.training(adapts=False)

    def training(self, adapts: bool) -> TrainingConfig:
        """Budget and optimiser of a stage.

        Arguments:
            adapts: True where adapters are trained, False for whole weights.
        """
        halves = 2 if self.tokenizer == "decoder" else 1
        return TrainingConfig(
            steps=self.steps,
            minutes=None if self.minutes is None else self.minutes / halves,
            batch=self.batch,
            learning_rate=self.learning_rate or (2e-3 if adapts else 5e-4),
            warmup=min(20, max(1, self.steps // 10)),
            weight_decay=0.0,
            ema=0.98,
            validations=20,
            patience=self.patience,
        )

    def views_of(self, pictures: int) -> int:
        """Varied versions of each of a number of pictures.

        Example:
            >>> TuneConfig().views_of(45), TuneConfig(shift=0).views_of(45), TuneConfig().views_of(5000)
            (18, 1, 1)
        """
        different = (2 if self.flip else 1) * (2 * self.shift + 1) ** 2
        return self.views or max(1, min(2 * different if different > 1 else 1, FEW // max(1, pictures)))


@dataclasses.dataclass(frozen=True)
class Tuned:
    """Gain and cost of fine-tuning, in bits a picture of the prior."""

    new_before: float = figure("new pictures, held out, before", ",.1f", "bits a picture")
    new_after: float = figure("new pictures, held out, after", ",.1f", "bits a picture", key=True)
    old_before: float = figure("old pictures, held out, before", ",.1f", "bits a picture")
    old_after: float = figure("old pictures, held out, after", ",.1f", "bits a picture")
    forgotten: float = figure("bits more on the old pictures", ".1%")
    """Share by which old pictures cost more than before."""
    replayed: float = figure("samples of the old run among those trained on", ".0%")
    parameters_trained: int = figure("parameters trained", ",.0f")
