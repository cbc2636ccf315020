"""Training a segmenter: the right class for every pixel."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from caselli import ranks
from caselli.data import VOID, SegmentationBatch
from caselli.engine import Losses, Task
from caselli.figures import figures_of
from caselli.segmentation.score import SegmentationScore, confusion, score
from caselli.shapes import Float, Int, Tensor


class SegmentationTask(Task):
    r"""Cross-entropy of every pixel that has a class.

    .. math:: -\frac{1}{|P|} \sum_{p \in P} \log \operatorname{softmax}(f(x))_{y_p,\,p}

    Arguments:
        network: pictures → logits of every pixel.
        classes: number of classes.
    """

    figures = Task.figures | figures_of(SegmentationScore)

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network, self.classes = network, classes
        self.counts: list[Tensor] = []

    def forward(self, batch: SegmentationBatch, step: int) -> Losses:
        logits = self.network(batch.pictures)
        loss = pixel_loss(logits, batch.masks)
        right = (logits.detach().argmax(1) == batch.masks).sum() / (batch.masks != VOID).sum().clamp_min(1)
        return Losses(loss, {"accuracy": right})

    def validate(self, batch: SegmentationBatch) -> dict[str, Tensor]:
        logits = self.network(batch.pictures)
        self.counts.append(confusion(logits.argmax(1), batch.masks, self.classes))
        return {"loss": pixel_loss(logits, batch.masks)}

    def finish(self) -> dict[str, float]:
        if not self.counts:
            return {}
        found = score(ranks.total(torch.stack(self.counts).sum(0)))
        self.counts = []
        return {"mean_iou": found.mean_iou, "accuracy": found.accuracy}


def pixel_loss(logits: Float[Tensor, "B K H W"], masks: Int[Tensor, "B H W"]) -> Float[Tensor, ""]:
    """Mean cross-entropy of the pixels that have a class; zero if none has.

    Example:
        >>> pixel_loss(torch.zeros(1, 4, 1, 2), torch.tensor([[[3, 255]]]))
        tensor(1.3863)
    """
    total = F.cross_entropy(logits.float(), masks, ignore_index=VOID, reduction="sum")
    return total / (masks != VOID).sum().clamp_min(1)
