"""VGG-16, from its published weights in a local file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from caselli.errors import UserError
from caselli.layer.features import FeatureNetwork, coloured
from caselli.layer.published import Published, fill, read_weights
from caselli.shapes import Float, Tensor

SOURCE = "https://download.pytorch.org/models/vgg16-397923af.pth"
WIDTHS = (64, 128, 256, 512, 512)
"""Channels of VGG-16's five levels."""
DEPTHS = (2, 2, 3, 3, 3)
"""Convolutions of each level."""
SMALLEST = 16
"""Pixels a side: four halvings must leave one."""
MEAN, DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""ImageNet's channel statistics, for pictures in [-1, 1]."""


class VGG16(Published, FeatureNetwork):
    """The convolutions of VGG-16 without its classifier, always in evaluation mode and never trained.

    Source: Simonyan, Zisserman (2015), Very deep convolutional networks for large-scale image recognition.
    """

    features_name = "VGG-16, mean of the last level, 512 features"

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width, depth in zip(WIDTHS, DEPTHS, strict=True):
            for _ in range(depth):
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
                inputs = width
            layers.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*layers[:-1])  # the last level is read before its pooling
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)
        self.freeze()

    @classmethod
    def load(cls, path: str | Path) -> VGG16:
        """The network with the published ImageNet weights, from a local file in torchvision's layout."""
        network, weights = cls(), read_weights(path, "VGG-16", SOURCE)
        start = "features."
        kept = {name.removeprefix(start): w for name, w in weights.items() if name.startswith(start)}
        fill(network.layers, kept, "VGG-16")
        return network

    @classmethod
    def untrained(cls, seed: int = 0) -> VGG16:
        """The network with random orthogonal weights: features of texture and shape that need no file.

        For pictures far from ImageNet's they tell sets apart at least as well as trained ones.

        Arguments:
            seed: of the weights; figures compare only at equal seeds.

        Source: Naeem et al. 2020, Reliable Fidelity and Diversity Metrics for Generative Models.

        Example:
            >>> VGG16.untrained().features(torch.zeros(1, 3, 32, 32)).shape
            torch.Size([1, 512])
        """
        network = cls()
        generator = torch.Generator().manual_seed(seed)
        for layer in network.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.orthogonal_(layer.weight, gain=2**0.5, generator=generator)
                nn.init.zeros_(layer.bias)
        network.features_name = (
            f"VGG-16 with random weights, seed {seed}, mean of the last level, 512 features"
        )
        return network

    def levels(self, pictures: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """The last activation of each of the five levels."""
        if min(pictures.shape[-2:]) < SMALLEST:
            raise UserError(
                f"pictures of {tuple(pictures.shape[-2:])} pixels were given to VGG-16",
                f"at least {SMALLEST} a side were expected",
            )
        x, found = (coloured(pictures) - self.mean) / self.deviation, []
        for layer in self.layers:
            if isinstance(layer, nn.MaxPool2d):
                found.append(x)
            x = layer(x)
        return [*found, x]

    def features(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        return self.levels(pictures)[-1].mean((2, 3))
