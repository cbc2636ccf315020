"""Agreement of a map of classes with the true one."""

from __future__ import annotations

import dataclasses

import torch

from caselli.data import VOID
from caselli.figures import figure
from caselli.shapes import Float, Int, Tensor


def confusion(predicted: Int[Tensor, "*S"], masks: Int[Tensor, "*S"], classes: int) -> Int[Tensor, "K K"]:
    """Number of pixels of each true class (row) that were given each class (column), without void pixels.

    Example:
        >>> confusion(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 255]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    counted = masks != VOID
    pairs = masks[counted] * classes + predicted[counted]
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes)


@dataclasses.dataclass(frozen=True)
class SegmentationScore:
    """Agreement over a set of pictures, counted in pixels."""

    mean_iou: float = figure("mean intersection over union", ".1%", section="Training", key=True)
    """Mean of `iou` over the classes that occur, in truth or prediction."""
    accuracy: float = figure("pixels right", ".1%", key=True)
    """Share of the pixels that got their class."""
    iou: Float[Tensor, "K"]
    """Intersection over union of each class; NaN where the class does not occur."""


def score(counts: Int[Tensor, "K K"]) -> SegmentationScore:
    r"""Intersection over union of each class, its mean, and the accuracy, of a confusion matrix.

    .. math:: \mathrm{IoU}_k = \frac{n_{kk}}{\sum_j n_{kj} + \sum_j n_{jk} - n_{kk}}

    The counts are those of all pictures together, as the field reports it, not a mean over pictures.

    Source: Everingham et al., 2010, "The PASCAL visual object classes (VOC) challenge"; Long, Shelhamer and
    Darrell, 2015, "Fully convolutional networks for semantic segmentation".

    Example:
        >>> found = score(torch.tensor([[6, 2], [1, 3]]))
        >>> round(found.mean_iou, 4), found.accuracy
        (0.5833, 0.75)
    """
    counts = counts.double()
    same = counts.diagonal()
    iou = same / (counts.sum(0) + counts.sum(1) - same)
    mean_iou, accuracy = iou.nanmean().item(), (same.sum() / counts.sum()).item()
    return SegmentationScore(mean_iou, accuracy, iou)
