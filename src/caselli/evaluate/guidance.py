"""What guidance gains and costs: agreement with the label against diversity."""

from __future__ import annotations

import dataclasses

import torch

from caselli.data import Pictures, to_float
from caselli.errors import UserError
from caselli.evaluate.features import features_of
from caselli.evaluate.neighbours import manifold
from caselli.evaluate.reader import Reader, accuracy
from caselli.model import Model
from caselli.sampling import Sampling, best_engine
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class Guided:
    """Samples at one strength of guidance, beside real pictures."""

    strength: float
    read_as_asked: float
    """The share of samples that an independent classifier reads as the label they were asked for."""
    spread: float
    """The distance of two samples of one label, in the classifier's features, over that of two real ones."""
    recall: float
    """The share of real pictures that lie in the neighbourhood of a sample."""


def label_spread(features: Float[Tensor, "n F"], labels: Int[Tensor, "n"]) -> float:
    """The root mean square distance of two different rows of one label, over all labels with two rows.

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


def guidance_curve(
    model: Model,
    reader: Reader,
    held_out: Pictures,
    strengths: list[float],
    each: int = 16,
    schedule: str = "constant",
) -> list[Guided]:
    """Agreement and diversity of samples of all labels at each strength, drawn by the same noise.

    Arguments:
        model: a labelled model with a prior.
        reader: a classifier of real pictures, trained on the training split.
        held_out: real labelled pictures that the reader did not see.
        strengths: guidance; 1 is none.
        each: samples a label.
        schedule: of the guidance.

    Errors: `UserError` where the model or the pictures have no labels.
    """
    if held_out.labels is None or not model.classes:
        raise UserError("pictures or a model without labels were given", "guidance is about labels")
    engine, _ = best_engine(model.require_prior())
    real = features_of(reader, to_float(held_out.read(torch.arange(len(held_out)))))
    scale = label_spread(real, held_out.labels)
    asked = torch.arange(len(model.classes)).repeat_interleave(each)
    found = []
    for strength in strengths:
        options = Sampling(guidance=strength, guidance_schedule=schedule)
        samples = model.sample(len(asked), asked.tolist(), 20_000, options, engine=engine)
        features = features_of(reader, samples)
        read, recall = accuracy(reader, samples, asked), manifold(real, features).recall
        found.append(Guided(strength, read, label_spread(features, asked) / max(scale, 1e-9), recall))
    return found
