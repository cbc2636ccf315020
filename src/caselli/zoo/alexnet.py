"""AlexNet, torchvision's and the second version of the original ("one weird trick")."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from caselli.zoo.parts import Convention


def alexnet(convention: Convention = Convention.TORCHVISION, *, classes: int = 1000) -> nn.Module:
    """Five convolutions and three linear layers, for pictures of 3 × 224 × 224.

    Source: Krizhevsky, 2014, "One weird trick for parallelizing convolutional neural networks".

    Example:
        >>> from caselli.anatomy import ReceptiveField
        >>> [int(n) for n in ReceptiveField(alexnet(), (3, 224, 224)).at("features.pool5").padding]
        [66, 66]
    """
    original = convention is Convention.ORIGINAL
    layers = OrderedDict(
        conv1=nn.Conv2d(3, 64, 11, 4, padding=0 if original else 2),
        relu1=nn.ReLU(inplace=True),
        pool1=nn.MaxPool2d(3, 2),
        conv2=nn.Conv2d(64, 192, 5, padding=2),
        relu2=nn.ReLU(inplace=True),
        pool2=nn.MaxPool2d(3, 2),
        conv3=nn.Conv2d(192, 384, 3, padding=1),
        relu3=nn.ReLU(inplace=True),
        conv4=nn.Conv2d(384, 384 if original else 256, 3, padding=1),
        relu4=nn.ReLU(inplace=True),
        conv5=nn.Conv2d(384 if original else 256, 256, 3, padding=1),
        relu5=nn.ReLU(inplace=True),
        pool5=nn.MaxPool2d(3, 2),
    )
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(6),
        nn.Flatten(),
        nn.Linear(256 * 36, 4096),
        nn.ReLU(inplace=True),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        nn.Linear(4096, classes),
    )
    return nn.Sequential(OrderedDict(features=nn.Sequential(layers), head=head))
