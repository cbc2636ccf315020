"""MobileNet: depthwise and pointwise convolutions in turn."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from caselli.zoo.parts import Convention, classifier, convolution

LAYERS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
"""(width, stride) of each depthwise-separable layer."""


def _block(width: int, out_width: int, taps: int, stride: int, groups: int, original: bool) -> nn.Sequential:
    options = {"groups": groups, "bias": False}
    if original:
        layer = convolution(width, out_width, taps, stride, **options)
    else:
        layer = nn.Conv2d(width, out_width, taps, stride, taps // 2, **options)
    return nn.Sequential(layer, nn.BatchNorm2d(out_width), nn.ReLU(inplace=True))


def mobilenet(convention: Convention = Convention.TORCHVISION, *, classes: int = 1000) -> nn.Module:
    """MobileNet (first version), for pictures of 3 × 224 × 224.

    The conventions differ in the padding of strided layers: symmetric, or "same".

    Source: Howard et al., 2017, "MobileNets: efficient convolutional neural networks for mobile vision
    applications".
    """
    original = convention is Convention.ORIGINAL
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv0=_block(3, 32, 3, 2, 1, original))
    width = 32
    for number, (out_width, stride) in enumerate(LAYERS, 1):
        layers[f"conv{number}_depthwise"] = _block(width, width, 3, stride, width, original)
        layers[f"conv{number}_pointwise"] = _block(width, out_width, 1, 1, 1, original)
        width = out_width
    layers["head"] = classifier(width, classes)
    return nn.Sequential(layers)
