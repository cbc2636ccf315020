"""Networks between pictures and vectors; their names are those of `ENCODERS` and `DECODERS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise

from torch import nn

from caselli.layer import (
    Nearest,
    PixelShuffle,
    ResidualBlock,
    StridedConvolution,
    TransposedConvolution,
    group_norm,
)
from caselli.shapes import Float, Tensor

SMALLEST, WIDEST = 4, 4
"""Pictures are halved while they are even and larger than 4 pixels; widths double up to 4 times the first."""


def sides(size: int) -> list[int]:
    """The sides of the maps from the picture down.

    Example:
        >>> sides(32), sides(28), sides(8)
        ([32, 16, 8, 4], [28, 14, 7], [8, 4])
    """
    found = [size]
    while found[-1] % 2 == 0 and found[-1] > SMALLEST:
        found.append(found[-1] // 2)
    return found


def widths(width: int, size: int) -> list[int]:
    """Channels of the maps below the picture, finest first.

    Example:
        >>> widths(16, 64)
        [16, 32, 64, 64]
    """
    return [width * min(2**level, WIDEST) for level in range(max(1, len(sides(size)) - 1))]


class Encoder(nn.Module, ABC):
    """Pictures `B C H W` → `B features`.

    Arguments:
        channels, size: channels and side of the pictures.
        width: channels of the finest map, or units.
        normalised: true for normalised maps; a critic's are better not.
    """

    features: int

    def __init__(self, channels: int, size: int, width: int, normalised: bool = True) -> None:
        super().__init__()
        self.layers = self.build(channels, size, width, normalised)

    @abstractmethod
    def build(self, channels: int, size: int, width: int, normalised: bool) -> nn.Module:
        """The layers; sets `features`."""

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        return self.layers(pictures)


class Decoder(nn.Module, ABC):
    """Vectors `B inputs` → maps `B outputs H W`, unbounded.

    Arguments:
        inputs: numbers in a vector.
        outputs: channels of the maps.
        size: side of the maps.
        width: channels of the finest map, or units.
    """

    def __init__(self, inputs: int, outputs: int, size: int, width: int) -> None:
        super().__init__()
        self.layers = self.build(inputs, outputs, size, width)

    @abstractmethod
    def build(self, inputs: int, outputs: int, size: int, width: int) -> nn.Module:
        """The layers."""

    def forward(self, vectors: Float[Tensor, "B D"]) -> Float[Tensor, "B F H W"]:
        return self.layers(vectors)


class ConvolutionalDownward(Encoder):
    """Strided convolutions with leaky rectifiers.

    Source: Radford, Metz and Chintala 2016, Unsupervised Representation Learning with Deep Convolutional
    Generative Adversarial Networks; group in place of batch normalisation.

    Example:
        >>> import torch
        >>> ConvolutionalDownward(1, 32, 8)(torch.zeros(2, 1, 32, 32)).shape
        torch.Size([2, 512])
    """

    def build(self, channels: int, size: int, width: int, normalised: bool) -> nn.Module:
        layers: list[nn.Module] = []
        for level, out in enumerate(widths(width, size)):
            layers.append(_halving(channels, out, size))
            if normalised and level:
                layers.append(group_norm(out))
            layers.append(nn.LeakyReLU(0.2))
            channels = out
        self.features = channels * sides(size)[-1] ** 2
        return nn.Sequential(*layers, nn.Flatten())


class ConvolutionalUpward(Decoder):
    """Transposed convolutions with rectifiers, the mirror image of `ConvolutionalDownward`.

    Example:
        >>> import torch
        >>> ConvolutionalUpward(16, 1, 28, 8)(torch.zeros(2, 16)).shape
        torch.Size([2, 1, 28, 28])
    """

    def build(self, inputs: int, outputs: int, size: int, width: int) -> nn.Module:
        wide, side = widths(width, size)[::-1], sides(size)[-1]
        layers: list[nn.Module] = [_spread(inputs, wide[0], side)]
        for here, out in zip(wide, [*wide[1:], outputs], strict=True):
            layers += [group_norm(here), nn.ReLU(), _doubling(here, out, size)]
        return nn.Sequential(*layers)


class ResidualDownward(Encoder):
    """A residual block at each scale, a strided convolution between them.

    The blocks' own normalisation is of each picture alone, so that it may stay in a critic.

    Source: Gulrajani et al. 2017, Improved Training of Wasserstein GANs; Miyato et al. 2018.

    Example:
        >>> import torch
        >>> ResidualDownward(1, 32, 8)(torch.zeros(2, 1, 32, 32)).shape
        torch.Size([2, 512])
    """

    def build(self, channels: int, size: int, width: int, normalised: bool) -> nn.Module:
        wide = widths(width, size)
        layers: list[nn.Module] = [_halving(channels, wide[0], size)]
        for here, out in pairwise(wide):
            layers += [ResidualBlock(here, here), StridedConvolution(here, out)]
        last = wide[-1]
        layers += [ResidualBlock(last, last), nn.LeakyReLU(0.2), nn.Flatten()]
        self.features = last * sides(size)[-1] ** 2
        return nn.Sequential(*layers)


class ResidualUpward(Decoder):
    """A residual block at each scale, enlarged between them, a sub-pixel convolution at the end.

    Example:
        >>> import torch
        >>> ResidualUpward(16, 3, 32, 8)(torch.zeros(2, 16)).shape
        torch.Size([2, 3, 32, 32])
    """

    def build(self, inputs: int, outputs: int, size: int, width: int) -> nn.Module:
        wide, side = widths(width, size)[::-1], sides(size)[-1]
        layers: list[nn.Module] = [_spread(inputs, wide[0], side)]
        for here, out in pairwise(wide):
            layers += [ResidualBlock(here, here), Nearest(here, out)]
        last = wide[-1]
        layers += [ResidualBlock(last, last), group_norm(last), nn.SiLU()]
        return nn.Sequential(
            *layers, PixelShuffle(last, outputs, scale=size // (side * 2 ** (len(wide) - 1)))
        )


class LinearDownward(Encoder):
    """The pixels themselves: what reads them is then one linear layer."""

    def build(self, channels: int, size: int, width: int, normalised: bool) -> nn.Module:
        self.features = channels * size**2
        return nn.Flatten()


class LinearUpward(Decoder):
    """One linear layer."""

    def build(self, inputs: int, outputs: int, size: int, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, outputs * size**2), nn.Unflatten(1, (outputs, size, size)))


class PerceptronDownward(Encoder):
    """Two hidden layers of `width` units with leaky rectifiers."""

    def build(self, channels: int, size: int, width: int, normalised: bool) -> nn.Module:
        self.features = width
        return nn.Sequential(nn.Flatten(), *_hidden(channels * size**2, width))


class PerceptronUpward(Decoder):
    """Two hidden layers of `width` units with leaky rectifiers."""

    def build(self, inputs: int, outputs: int, size: int, width: int) -> nn.Module:
        last = nn.Linear(width, outputs * size**2)
        return nn.Sequential(*_hidden(inputs, width), last, nn.Unflatten(1, (outputs, size, size)))


def perceptron(inputs: int, outputs: int, width: int = 128, depth: int = 2) -> nn.Sequential:
    """Vectors → vectors through hidden layers with leaky rectifiers: critics and generators of the plane."""
    sizes = [inputs, *[width] * depth]
    hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.LeakyReLU(0.2))]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], outputs))


def _halving(width: int, out: int, size: int) -> nn.Module:
    return nn.Conv2d(width, out, 4, 2, 1) if len(sides(size)) > 1 else nn.Conv2d(width, out, 3, padding=1)


def _doubling(width: int, out: int, size: int) -> nn.Module:
    if len(sides(size)) > 1:
        return TransposedConvolution(width, out)
    return nn.Conv2d(width, out, 3, padding=1)


def _spread(inputs: int, width: int, side: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width * side**2), nn.Unflatten(1, (width, side, side)))


def _hidden(inputs: int, width: int) -> list[nn.Module]:
    return [nn.Linear(inputs, width), nn.LeakyReLU(0.3), nn.Linear(width, width), nn.LeakyReLU(0.3)]


ENCODERS: dict[str, type[Encoder]] = {
    "convolutional": ConvolutionalDownward,
    "residual": ResidualDownward,
    "perceptron": PerceptronDownward,
    "linear": LinearDownward,
}
"""Pictures → vectors, by name."""

DECODERS: dict[str, type[Decoder]] = {
    "convolutional": ConvolutionalUpward,
    "residual": ResidualUpward,
    "perceptron": PerceptronUpward,
    "linear": LinearUpward,
}
"""Vectors → pictures, by name."""
