"""VGG: stages of 3 × 3 convolutions; VGG-16 with published or random weights as a network of features."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from caselli.errors import UserError
from caselli.features.base import FeatureNetwork, coloured
from caselli.features.frozen import Frozen
from caselli.layer import normalised
from caselli.shapes import Float, Tensor
from caselli.weights import fill, read_weights

VGG_CONVOLUTIONS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
"""Convolutions in each stage, by the number of layers with weights."""
VGG_WIDTHS = (64, 128, 256, 512, 512)
"""Channels of each stage."""
SOURCE = "https://download.pytorch.org/models/vgg16-397923af.pth"
SMALLEST = 16
"""Pixels along each side that four halvings need."""
MEAN, DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""ImageNet's channel statistics, for pictures in [-1, 1]."""


def vgg_stages(
    counts: Sequence[int] = VGG_CONVOLUTIONS[16],
    widths: Sequence[int] = VGG_WIDTHS,
    channels: int = 3,
    norm: str = "none",
    *,
    keep_border: bool = False,
) -> nn.Sequential:
    """Stages of convolutions, each ended by max-pooling by 2; layers are called conv1_1 … pool5.

    Arguments:
        counts: convolutions in each stage.
        widths: channels of each stage.
        channels: channels of the pictures.
        norm: name in `NORMS` of the normalisation after every convolution.
        keep_border: pool the last row of an odd size too.

    Source: Simonyan and Zisserman, 2015, "Very deep convolutional networks for large-scale image
    recognition".

    Example:
        >>> [name for name, _ in vgg_stages((1, 2), (8, 8)).named_children() if name[:4] in ("conv", "pool")]
        ['conv1_1', 'pool1', 'conv2_1', 'conv2_2', 'pool2']
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    width = channels
    for stage, (count, out_width) in enumerate(zip(counts, widths, strict=True), 1):
        for number in range(1, count + 1):
            # a bias before batch normalisation does nothing
            bare = nn.Conv2d(width, out_width, 3, padding=1, bias=norm != "batch")
            layers[f"conv{stage}_{number}"], *rest = normalised(bare, norm)
            layers.update({f"norm{stage}_{number}": layer for layer in rest})
            layers[f"relu{stage}_{number}"] = nn.ReLU(inplace=True)
            width = out_width
        layers[f"pool{stage}"] = nn.MaxPool2d(2, ceil_mode=keep_border)
    return nn.Sequential(layers)


def published_vgg(depth: int = 16) -> nn.Sequential:
    """The stages of the published network with `depth` layers of weights: 11, 13, 16 or 19."""
    return vgg_stages(VGG_CONVOLUTIONS[depth])


class VGG16(Frozen, FeatureNetwork):
    """The convolutions of VGG-16 without its classifier, always in evaluation mode and never trained.

    Source: Simonyan, Zisserman (2015), Very deep convolutional networks for large-scale image recognition.
    """

    features_name = "VGG-16, mean of the last level, 512 features"

    def __init__(self) -> None:
        super().__init__()
        self.layers = vgg_stages()[:-1]  # the last stage is read before its pooling
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)
        self.freeze()

    @classmethod
    def load(cls, path: str | Path) -> VGG16:
        """The network with the published ImageNet weights, from a local file in torchvision's layout."""
        network, weights = cls(), read_weights(path, "VGG-16", SOURCE)
        names = {str(n): name for n, (name, _) in enumerate(network.layers.named_children())}
        kept = {}
        for name, weight in weights.items():  # features.0.weight, features.0.bias, …
            part, *rest = name.split(".")
            if part == "features":
                kept[".".join([names.get(rest[0], rest[0]), *rest[1:]])] = weight
        fill(network.layers, kept, "VGG-16")
        return network

    @classmethod
    def untrained(cls, seed: int = 0) -> VGG16:
        """The network with random orthogonal weights: features of texture and shape that need no file.

        For pictures far from ImageNet's they tell sets apart at least as well as trained ones.

        Arguments:
            seed: seed of the weights; figures compare only at equal seeds.

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
