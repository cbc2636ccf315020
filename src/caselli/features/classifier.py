"""A small classifier, which gives features and judges samples by their labels."""

from __future__ import annotations

import math

import torch
from torch import nn

from caselli.errors import UserError
from caselli.features.base import FeatureNetwork, in_batches
from caselli.shapes import Float, Int, Tensor

FEATURES = 256
"""Features of a picture."""


class Classifier(FeatureNetwork):
    """A small convolutional classifier: pictures in [-1, 1] → logits, `B K`.

    Arguments:
        channels: 1 (grey) or 3 (colour).
        size: height and width of the pictures in pixels, at least 8.
        classes: names of the classes.
        name: name of its features in reports.

    Example:
        >>> classifier = Classifier(1, 32, ("a", "b"))
        >>> classifier(torch.zeros(5, 1, 32, 32)).shape, classifier.features(torch.zeros(5, 1, 32, 32)).shape
        (torch.Size([5, 2]), torch.Size([5, 256]))
    """

    def __init__(self, channels: int, size: int, classes: tuple[str, ...], name: str = "classifier") -> None:
        super().__init__()
        if size < 8 or len(classes) < 2:
            raise UserError(
                f"pictures of {size} pixels and {len(classes)} classes were given",
                "at least 8 pixels and 2 classes were expected",
            )
        self.channels, self.size, self.classes = channels, size, tuple(classes)
        self.features_name = f"{name} (small, trained on the data themselves)"
        halvings = max(0, math.ceil(math.log2(size / 32)))
        layers = [_convolution(channels, 32, 5, 2)]
        layers += [_convolution(32, 32, 3, 2) for _ in range(halvings)]
        layers += [_convolution(32, 64, 3, 2), _convolution(64, 128, 3, 1), _convolution(128, 128, 3, 2)]
        side = 4 if size > 24 else 2
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(side), nn.Flatten())
        self.penultimate = nn.Sequential(nn.Linear(128 * side * side, FEATURES), nn.ReLU())
        self.head = nn.Linear(FEATURES, len(self.classes))
        self.to(memory_format=torch.channels_last)

    def features(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """Inputs of the last layer, F = 256."""
        if pictures.ndim != 4 or pictures.shape[1:] != (self.channels, self.size, self.size):
            raise UserError(
                f"pictures of shape {tuple(pictures.shape)} were given to a classifier",
                f"B {self.channels} {self.size} {self.size} was expected",
            )
        return self.penultimate(self.body(pictures.contiguous(memory_format=torch.channels_last)))

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        return self.head(self.features(pictures))


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


@torch.no_grad()
def classify(classifier: Classifier, pictures: Float[Tensor, "B C H W"]) -> Int[Tensor, "B"]:
    """The most likely class of each of any number of pictures."""
    return in_batches(classifier, lambda x: classifier(x).argmax(1), pictures)


def accuracy(classifier: Classifier, pictures: Float[Tensor, "B C H W"], labels: Int[Tensor, "B"]) -> float:
    """The share of pictures that are classified as their label."""
    return float((classify(classifier, pictures) == labels.to(classifier.device)).double().mean())


def confusion_matrix(
    classifier: Classifier, pictures: Float[Tensor, "B C H W"], labels: Int[Tensor, "B"]
) -> Int[Tensor, "K K"]:
    """Number of pictures of each label (row) that were classified as each class (column)."""
    size = len(classifier.classes)
    pairs = labels.to(classifier.device) * size + classify(classifier, pictures)
    return torch.bincount(pairs, minlength=size * size).view(size, size)


def most_confused(
    counts: Int[Tensor, "K K"], classes: tuple[str, ...], most: int = 10
) -> list[tuple[str, str, int]]:
    """(label, class given instead, number of pictures) of the most frequent mistakes, in falling order.

    Example:
        >>> most_confused(torch.tensor([[5, 2], [1, 6]]), ("o", "O"))
        [('o', 'O', 2), ('O', 'o', 1)]
    """
    wrong = counts.clone().fill_diagonal_(0).flatten()
    order = wrong.argsort(descending=True, stable=True)[:most].tolist()
    size = len(classes)
    return [(classes[i // size], classes[i % size], int(wrong[i])) for i in order if wrong[i] > 0]
