"""Samples as an independent classifier reads them, beside real pictures."""

from __future__ import annotations

import dataclasses

from caselli.features import Classifier, accuracy
from caselli.figures import figure
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class Readability:
    """Agreement of a classifier of real pictures with the labels that samples were asked for."""

    read_as_asked: float = figure("samples read as the label asked for", ".1%")
    """Share of the samples."""
    real_read_as_labelled: float = figure("real pictures read as their label", ".1%")
    """Share of real held-out pictures: the most that can be expected."""
    read_share_of_real: float = figure("labels read, against real pictures", ".1%", key=True)
    """The former over the latter."""
    samples_read: int = figure("samples read", ",.0f")
    """Number of samples."""


def readability(
    classifier: Classifier,
    samples: Float[Tensor, "n C H W"],
    asked: Int[Tensor, "n"],
    real: Float[Tensor, "L C H W"],
    labels: Int[Tensor, "L"],
) -> Readability:
    """Shares of samples that a classifier reads as the label asked for, and of real pictures as their own.

    Arguments:
        classifier: trained on other real pictures.
        samples, asked: what was sampled, and the label of each.
        real, labels: held-out pictures, and the label of each.
    """
    of_real, of_samples = accuracy(classifier, real, labels), accuracy(classifier, samples, asked)
    return Readability(of_samples, of_real, of_samples / max(of_real, 1e-9), len(samples))
