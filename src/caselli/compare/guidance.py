"""`caselli compare guidance`: agreement of samples with their label against diversity, at each strength."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from caselli.compare.base import Comparison, free, kept, panels
from caselli.compare.pictures import labels_for, pictures_for, pixels
from caselli.engine import on_device
from caselli.errors import UserError
from caselli.evaluate import manifold
from caselli.features import accuracy, features_of, train_classifier
from caselli.figures import figure
from caselli.model import load
from caselli.report import dress
from caselli.sampling import Sampling
from caselli.shapes import Float, Int, Tensor

SHOWN, FIRST = 12, 20_000
"""Samples shown at each strength, with the same noise, and the seed of the first sample measured."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """A labelled run, the pictures that it was trained on, and the guidance."""

    run: str
    """A run folder."""
    source: str
    """Labelled pictures: those that the run was trained on."""
    strengths: tuple[float, ...] = free((1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0))
    """Strengths of guidance with commas between; 1 is none."""
    schedule: str | None = None
    """constant, linear or cosine (the run's own)."""
    each: int = 16
    """Samples a label."""
    classifier_steps: int = 150
    """Training steps of the classifier."""


@dataclasses.dataclass(frozen=True)
class Row:
    """Samples at one strength of guidance, beside real pictures."""

    strength: float = figure("guidance", "g")
    read_as_asked: float = figure("read as asked", ".1%")
    """Share of samples that an independent classifier assigns to the label they are conditioned on."""
    spread: float = figure("spread within a label", ".3f")
    """Distance of two samples of one label, in the classifier's features, over that of two real ones."""
    recall: float = figure("recall", ".1%")
    """Share of real pictures that lie in the neighbourhood of a sample."""
    shown: Float[Tensor, "B C H W"] | None = kept()


class Guidance(Comparison):
    """Agreement with the label, by a classifier trained on real pictures, against diversity."""

    Settings, Row = Settings, Row

    def subjects(self) -> dict[str, Any]:
        self.model = on_device(load(self.settings.run))
        self.model.require_prior()
        self.train, self.held_out = (
            pictures_for(self.model, self.settings.source, split) for split in ("train", "held_out")
        )
        if self.held_out.labels is None or not self.model.classes:
            raise UserError("pictures or a model without labels were given", "guidance is about labels")
        return {f"{strength:g}": strength for strength in self.settings.strengths}

    def rows(self, subjects: Mapping[str, float], folder: Path) -> Iterator[Row]:
        asked, model = self.settings, self.model
        classifier = train_classifier(self.train, steps=asked.classifier_steps, seed=1)
        engine, _ = model.engine()
        real = features_of(classifier, pixels(self.held_out))
        scale = label_spread(real, self.held_out.labels)
        labels = torch.arange(len(model.classes)).repeat_interleave(asked.each)
        few = labels_for(model, SHOWN)
        for strength in subjects.values():
            options = Sampling(guidance=strength, guidance_schedule=asked.schedule)
            samples = model.sample(len(labels), labels.tolist(), FIRST, options, engine=engine)
            features = features_of(classifier, samples)
            yield Row(
                strength,
                accuracy(classifier, samples, labels),
                label_spread(features, labels) / max(scale, 1e-9),
                manifold(real, features).recall,
                model.sample(SHOWN, few, 0, options, engine=engine),
            )

    def plot(self, rows: Sequence[Row]) -> Any:
        drawing, ((axes,),) = panels(6.4, 4.0)
        points = [(row.recall, row.read_as_asked) for row in rows]
        axes.plot(*zip(*points, strict=True), "o-", color="#2f6f9f")
        for row, point in zip(rows, points, strict=True):
            axes.annotate(f"{row.strength:g}", point, xytext=(6, 5), textcoords="offset points")
        recall = "recall: share of real pictures among the samples' neighbours"
        dress(axes, "guidance: agreement against diversity", recall, "read as asked")
        axes.margins(0.1)
        return drawing


def label_spread(features: Float[Tensor, "n F"], labels: Int[Tensor, "n"]) -> float:
    """Root mean square distance of two different rows of one label, over all labels with two rows.

    Example:
        >>> label_spread(torch.tensor([[0.0], [3.0], [9.0]]), torch.tensor([0, 0, 1]))
        3.0
    """
    squares, pairs = 0.0, 0
    for label in labels.unique():
        rows = features[labels == label].double()
        count = len(rows)
        if count > 1:  # Σ of squared distances over ordered pairs is 2 n Σ (x − mean)²
            squares += 2 * count * float((rows - rows.mean(0)).square().sum())
            pairs += count * (count - 1)
    return (squares / max(1, pairs)) ** 0.5
