"""VGG: 3 × 3 convolutions in five stages with max-pooling between."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from caselli.features import VGG_WIDTHS, published_vgg
from caselli.zoo.parts import Convention


def vgg(
    convention: Convention = Convention.TORCHVISION, *, depth: int = 16, classes: int = 1000
) -> nn.Module:
    """VGG with `depth` layers of weights, for pictures of 3 × 224 × 224; both conventions have the same one.

    Source: Simonyan and Zisserman, 2015, "Very deep convolutional networks for large-scale image
    recognition".

    Example:
        >>> from caselli.anatomy import ReceptiveField
        >>> ReceptiveField(vgg(), (3, 224, 224)).at("features.pool5").size
        (212, 212)
    """
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(7),
        nn.Flatten(),
        nn.Linear(VGG_WIDTHS[-1] * 49, 4096),
        nn.ReLU(inplace=True),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        nn.Linear(4096, classes),
    )
    return nn.Sequential(OrderedDict(features=published_vgg(depth), head=head))
