"""VGG: 3 × 3 convolutions in five stages with max-pooling between."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from caselli.anatomy.zoo.parts import Convention

DEPTHS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
WIDTHS = (64, 128, 256, 512, 512)


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
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    width = 3
    for stage, (count, out_width) in enumerate(zip(DEPTHS[depth], WIDTHS, strict=True), 1):
        for number in range(1, count + 1):
            layers[f"conv{stage}_{number}"] = nn.Conv2d(width, out_width, 3, padding=1)
            layers[f"relu{stage}_{number}"] = nn.ReLU(inplace=True)
            width = out_width
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    head = nn.Sequential(
        nn.AdaptiveAvgPool2d(7),
        nn.Flatten(),
        nn.Linear(512 * 49, 4096),
        nn.ReLU(inplace=True),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        nn.Linear(4096, classes),
    )
    return nn.Sequential(OrderedDict(features=nn.Sequential(layers), head=head))
