"""The Inception family: modules of parallel branches."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from caselli.shapes import Tensor
from caselli.zoo.parts import (
    Branches,
    Convention,
    average_pool,
    classifier,
    convolution,
    max_pool,
    normalised,
)

Layer = tuple
"""(out_width, taps), (out_width, taps, stride): a normalised convolution."""


def chain(width: int, *layers: Layer, same: bool = True) -> nn.Sequential:
    """Normalised convolutions in a row; with `same=False` strided ones are not padded."""
    modules = []
    for out_width, taps, *stride in layers:
        strided = bool(stride) and stride[0] > 1
        modules.append(normalised(width, out_width, taps, *stride, same=same or not strided))
        width = out_width
    return nn.Sequential(*modules)


def pooled(width: int, out_width: int, pool: nn.Module | None = None) -> nn.Sequential:
    """The 3 × 3 mean (or another pool), then a 1 × 1 convolution."""
    return nn.Sequential(pool or average_pool(), normalised(width, out_width, 1))


def crossed(width: int, *layers: Layer, ends: int) -> nn.Sequential:
    """A chain that ends in a 1 × 3 and a 3 × 1 convolution side by side."""
    last = layers[-1][0]
    return nn.Sequential(
        *chain(width, *layers), Branches(normalised(last, ends, (1, 3)), normalised(last, ends, (3, 1)))
    )


def reduction(width: int, *chains: tuple[Layer, ...], same: bool = False) -> Branches:
    """Chains that end in stride 2, and max-pooling of stride 2 beside them."""
    return Branches(*(chain(width, *layers, same=same) for layers in chains), max_pool(3, 2, same=same))


def _network(parts: OrderedDict[str, nn.Module], width: int, classes: int) -> nn.Sequential:
    parts["head"] = classifier(width, classes)
    return nn.Sequential(parts)


def _mixed(
    width: int, one: int, three: tuple[int, int], double: tuple[int, int], last: nn.Module
) -> Branches:
    """Version 2's module: 1 × 1, 3 × 3, two 3 × 3, a pool."""
    return Branches(
        chain(width, (one, 1)),
        chain(width, (three[0], 1), (three[1], 3)),
        chain(width, (double[0], 1), (double[1], 3), (double[1], 3)),
        last,
    )


def inception_v2(convention: Convention = Convention.ORIGINAL, *, classes: int = 1000) -> nn.Module:
    """Inception with batch normalisation, for pictures of 3 × 224 × 224; it has no torchvision counterpart.

    Source: Ioffe and Szegedy, 2015, "Batch normalization: accelerating deep network training by reducing
    internal covariate shift".
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["Conv2d_1a_7x7"] = nn.Sequential(
        convolution(3, 24, 7, 2, groups=3, bias=False), normalised(24, 64, 1)
    )
    parts["MaxPool_2a_3x3"] = max_pool(3, 2, same=True)
    parts["Conv2d_2b_1x1"] = normalised(64, 64, 1)
    parts["Conv2d_2c_3x3"] = normalised(64, 192, 3)
    parts["MaxPool_3a_3x3"] = max_pool(3, 2, same=True)
    parts["Mixed_3b"] = _mixed(192, 64, (64, 64), (64, 96), pooled(192, 32))
    parts["Mixed_3c"] = _mixed(256, 64, (64, 96), (64, 96), pooled(256, 64))
    parts["Mixed_4a"] = reduction(320, ((128, 1), (160, 3, 2)), ((64, 1), (96, 3), (96, 3, 2)), same=True)
    parts["Mixed_4b"] = _mixed(576, 224, (64, 96), (96, 128), pooled(576, 128))
    parts["Mixed_4c"] = _mixed(576, 192, (96, 128), (96, 128), pooled(576, 128))
    parts["Mixed_4d"] = _mixed(576, 160, (128, 160), (128, 160), pooled(576, 96))
    parts["Mixed_4e"] = _mixed(576, 96, (128, 192), (160, 192), pooled(576, 96))
    parts["Mixed_5a"] = reduction(576, ((128, 1), (192, 3, 2)), ((192, 1), (256, 3), (256, 3, 2)), same=True)
    parts["Mixed_5b"] = _mixed(1024, 352, (192, 320), (160, 224), pooled(1024, 128))
    parts["Mixed_5c"] = _mixed(1024, 352, (192, 320), (192, 224), pooled(1024, 128, nn.MaxPool2d(3, 1, 1)))
    return _network(parts, 1024, classes)


def _stem() -> OrderedDict[str, nn.Module]:
    """The stem of version 3 and Inception-ResNet: 3 → 192 channels at an eighth of the size."""
    return OrderedDict(
        Conv2d_1a_3x3=normalised(3, 32, 3, 2, same=False),
        Conv2d_2a_3x3=normalised(32, 32, 3, same=False),
        Conv2d_2b_3x3=normalised(32, 64, 3),
        MaxPool_3a_3x3=max_pool(3, 2),
        Conv2d_3b_1x1=normalised(64, 80, 1),
        Conv2d_4a_3x3=normalised(80, 192, 3, same=False),
        MaxPool_5a_3x3=max_pool(3, 2),
    )


def _module_35(width: int, one: int, pool: int) -> Branches:
    return Branches(
        chain(width, (one, 1)),
        chain(width, (48, 1), (64, 5)),
        chain(width, (64, 1), (96, 3), (96, 3)),
        pooled(width, pool),
    )


def _module_17(width: int, inner: int) -> Branches:
    i = inner
    return Branches(
        chain(width, (192, 1)),
        chain(width, (i, 1), (i, (1, 7)), (192, (7, 1))),
        chain(width, (i, 1), (i, (7, 1)), (i, (1, 7)), (i, (7, 1)), (192, (1, 7))),
        pooled(width, 192),
    )


def _module_8(width: int) -> Branches:
    return Branches(
        chain(width, (320, 1)),
        crossed(width, (384, 1), ends=384),
        crossed(width, (448, 1), (384, 3), ends=384),
        pooled(width, 192),
    )


def inception_v3(convention: Convention = Convention.TORCHVISION, *, classes: int = 1000) -> nn.Module:
    """Inception with factorised convolutions, for pictures of 3 × 299 × 299; both conventions agree.

    Source: Szegedy et al., 2016, "Rethinking the Inception architecture for computer vision".
    """
    parts = _stem()
    for name, width, pool in (("Mixed_5b", 192, 32), ("Mixed_5c", 256, 64), ("Mixed_5d", 288, 64)):
        parts[name] = _module_35(width, 64, pool)
    parts["Mixed_6a"] = reduction(288, ((384, 3, 2),), ((64, 1), (96, 3), (96, 3, 2)))
    for name, inner in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        parts[name] = _module_17(768, inner)
    parts["Mixed_7a"] = reduction(
        768, ((192, 1), (320, 3, 2)), ((192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2))
    )
    parts["Mixed_7b"], parts["Mixed_7c"] = _module_8(1280), _module_8(2048)
    return _network(parts, 2048, classes)


def _stem_v4() -> OrderedDict[str, nn.Module]:
    return OrderedDict(
        Conv2d_1a_3x3=normalised(3, 32, 3, 2, same=False),
        Conv2d_2a_3x3=normalised(32, 32, 3, same=False),
        Conv2d_2b_3x3=normalised(32, 64, 3),
        Mixed_3a=Branches(max_pool(3, 2), normalised(64, 96, 3, 2, same=False)),
        Mixed_4a=Branches(
            nn.Sequential(normalised(160, 64, 1), normalised(64, 96, 3, same=False)),
            nn.Sequential(
                *chain(160, (64, 1), (64, (1, 7)), (64, (7, 1))), normalised(64, 96, 3, same=False)
            ),
        ),
        Mixed_5a=Branches(normalised(192, 192, 3, 2, same=False), max_pool(3, 2)),
    )


def _module_b(width: int) -> Branches:
    return Branches(
        chain(width, (384, 1)),
        chain(width, (192, 1), (224, (1, 7)), (256, (7, 1))),
        chain(width, (192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
        pooled(width, 128),
    )


def _module_c(width: int) -> Branches:
    return Branches(
        chain(width, (256, 1)),
        crossed(width, (384, 1), ends=256),
        crossed(width, (384, 1), (448, (3, 1)), (512, (1, 3)), ends=256),
        pooled(width, 256),
    )


def inception_v4(convention: Convention = Convention.ORIGINAL, *, classes: int = 1000) -> nn.Module:
    """Inception, version 4, for pictures of 3 × 299 × 299; it has no torchvision counterpart.

    Source: Szegedy et al., 2017, "Inception-v4, Inception-ResNet and the impact of residual connections on
    learning".
    """
    parts = _stem_v4()
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_5e"):
        parts[name] = _mixed(384, 96, (64, 96), (64, 96), pooled(384, 96))
    parts["Mixed_6a"] = reduction(384, ((384, 3, 2),), ((192, 1), (224, 3), (256, 3, 2)))
    for letter in "bcdefgh":
        parts[f"Mixed_6{letter}"] = _module_b(1024)
    parts["Mixed_7a"] = reduction(
        1024, ((192, 1), (192, 3, 2)), ((256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2))
    )
    for letter in "bcd":
        parts[f"Mixed_7{letter}"] = _module_c(1536)
    return _network(parts, 1536, classes)


class ResidualBranches(nn.Module):
    """x + scale · W · branches(x), then ReLU."""

    def __init__(self, width: int, branches: Branches, inner: int, scale: float) -> None:
        super().__init__()
        self.branches, self.up, self.scale = branches, nn.Conv2d(inner, width, 1), scale

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.scale * self.up(self.branches(x)))


def _block_35() -> ResidualBranches:
    branches = Branches(
        chain(320, (32, 1)), chain(320, (32, 1), (32, 3)), chain(320, (32, 1), (48, 3), (64, 3))
    )
    return ResidualBranches(320, branches, 128, 0.17)


def _block_17() -> ResidualBranches:
    branches = Branches(chain(1088, (192, 1)), chain(1088, (128, 1), (160, (1, 7)), (192, (7, 1))))
    return ResidualBranches(1088, branches, 384, 0.1)


def _block_8() -> ResidualBranches:
    branches = Branches(chain(2080, (192, 1)), chain(2080, (192, 1), (224, (1, 3)), (256, (3, 1))))
    return ResidualBranches(2080, branches, 448, 0.2)


def inception_resnet_v2(convention: Convention = Convention.ORIGINAL, *, classes: int = 1000) -> nn.Module:
    """Inception with residual connections, for pictures of 3 × 299 × 299; it has no torchvision counterpart.

    Source: Szegedy et al., 2017, "Inception-v4, Inception-ResNet and the impact of residual connections on
    learning".
    """
    parts = _stem()
    parts["Mixed_5b"] = _module_35(192, 96, 64)
    parts["Repeat"] = nn.Sequential(*(_block_35() for _ in range(10)))
    parts["Mixed_6a"] = reduction(320, ((384, 3, 2),), ((256, 1), (256, 3), (384, 3, 2)))
    parts["Repeat_1"] = nn.Sequential(*(_block_17() for _ in range(20)))
    parts["Mixed_7a"] = reduction(
        1088, ((256, 1), (384, 3, 2)), ((256, 1), (288, 3, 2)), ((256, 1), (288, 3), (320, 3, 2))
    )
    parts["Repeat_2"] = nn.Sequential(*(_block_8() for _ in range(10)))
    parts["Conv2d_7b_1x1"] = normalised(2080, 1536, 1)
    return _network(parts, 1536, classes)
