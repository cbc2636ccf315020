"""The Inception-v3 network of the Fréchet inception distance, from its published weights in a local file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from caselli.data import to_bytes
from caselli.features.base import FeatureNetwork, coloured
from caselli.features.frozen import Frozen
from caselli.shapes import Float, Tensor
from caselli.weights import fill, read_weights

SOURCE = "https://github.com/toshas/torch-fidelity/releases (weights-inception-2015-12-05-6726825d.pth)"
SIDE = 299
"""Pixels that the network sees."""


class Inception(Frozen, FeatureNetwork):
    """Inception-v3 as it was released on 2015-12-05: 2,048 features, always in evaluation mode.

    It follows the network that the FID was defined with, in three places unlike the usual one: average
    pooling does not count the padding, the last block pools by maximum, and pictures are rounded to 8 bits
    and resized to 299 × 299 by TensorFlow 1's bilinear rule.

    Source: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna (2016), Rethinking the Inception architecture for
    computer vision; Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter (2017), GANs trained by a two
    time-scale update rule converge to a local Nash equilibrium.
    """

    features_name = "Inception-v3 (2015-12-05), 2048 features"

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Convolution(3, 32, 3, 2, 0)
        self.Conv2d_2a_3x3 = _Convolution(32, 32, 3, 1, 0)
        self.Conv2d_2b_3x3 = _Convolution(32, 64, 3, 1, 1)
        self.Conv2d_3b_1x1 = _Convolution(64, 80, 1, 1, 0)
        self.Conv2d_4a_3x3 = _Convolution(80, 192, 3, 1, 0)
        width = 192
        for name, branches, pool in _mixed_blocks():
            block = _Mixed(width, branches, pool)
            self.add_module(name, block)
            width = block.width
        self.fc = nn.Linear(width, 1008)
        self.freeze()

    @classmethod
    def load(cls, path: str | Path) -> Inception:
        """The network with the published weights, from a local file in torch-fidelity's layout."""
        network = cls()
        fill(network, read_weights(path, "Inception-v3", SOURCE), "Inception-v3")
        return network

    def features(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """2,048 features of pictures in [-1, 1], grey or colour, of any size."""
        x = to_bytes(coloured(pictures)).float()
        return self._last_block(resize_as_tensorflow(x, SIDE).sub(128).div(128)).mean((2, 3))

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1008"]:
        """The class logits."""
        return self.fc(self.features(pictures))

    def _last_block(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = functional.max_pool2d(x, 3, 2)
        x = functional.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, 2)
        for block in self.children():
            if isinstance(block, _Mixed):
                x = block(x)
        return x


def resize_as_tensorflow(pictures: Float[Tensor, "B C H W"], side: int) -> Float[Tensor, "B C S S"]:
    r"""Bilinear resizing with the rule of TensorFlow 1: output pixel i reads at i · H / S, corner on corner.

    Half a pixel away from what every later library does, and part of the FID's definition.

    Example:
        >>> resize_as_tensorflow(torch.tensor([[[[0.0, 2.0]]]]), 4)[0, 0, 0]
        tensor([0., 1., 2., 2.])
    """
    for axis in (2, 3):
        pictures = _resize_axis(pictures, side, axis)
    return pictures


def _resize_axis(x: Tensor, side: int, axis: int) -> Tensor:
    length = x.shape[axis]
    position = torch.arange(side, device=x.device, dtype=x.dtype) * (length / side)
    low = position.floor().long()
    high = (low + 1).clamp_max(length - 1)
    weight = (position - low).view([-1 if a == axis else 1 for a in range(4)])
    return torch.lerp(x.index_select(axis, low), x.index_select(axis, high), weight)


class _Convolution(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int, padding
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


Step = tuple[str, int, tuple[int, int], int]
"""Name, output channels, kernel, stride; padded to keep the size at stride 1, not at all at stride 2."""
Branch = tuple[tuple[Step, ...], ...]
"""Stages one after another; a stage of two steps applies both to the same input and joins their channels."""


class _Mixed(nn.Module):
    """Branches side by side; the input of the last one is pooled first."""

    def __init__(self, width: int, branches: tuple[Branch, ...], pool: str) -> None:
        super().__init__()
        self.branches, self.pool = branches, pool
        self.width = 0
        for branch in branches:
            inputs = width  # of a branch without stages, the pooled input itself is what comes out
            for stage in branch:
                for name, outputs, kernel, stride in stage:
                    padding = tuple(k // 2 if stride == 1 else 0 for k in kernel)
                    self.add_module(name, _Convolution(inputs, outputs, kernel, stride, padding))
                inputs = sum(outputs for _, outputs, _, _ in stage)
            self.width += inputs

    def forward(self, x: Tensor) -> Tensor:
        *plain, last = self.branches
        parts = [self._through(branch, x) for branch in plain]
        return torch.cat([*parts, self._through(last, self._pooled(x))], 1)

    def _through(self, branch: Branch, x: Tensor) -> Tensor:
        for stage in branch:
            parts = [self.get_submodule(step[0])(x) for step in stage]
            x = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return x

    def _pooled(self, x: Tensor) -> Tensor:
        if self.pool == "average":
            return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return functional.max_pool2d(x, 3, 1, 1) if self.pool == "maximum" else functional.max_pool2d(x, 3, 2)


def _step(name: str, outputs: int, kernel: tuple[int, int] = (1, 1), stride: int = 1) -> tuple[Step]:
    return ((name, outputs, kernel, stride),)


def _mixed_blocks() -> list[tuple[str, tuple[Branch, ...], str]]:
    """Name, branches and pooling of each block, from the input to the features."""
    return [
        ("Mixed_5b", _block_a(32), "average"),
        ("Mixed_5c", _block_a(64), "average"),
        ("Mixed_5d", _block_a(64), "average"),
        ("Mixed_6a", _block_b(), "halve"),
        ("Mixed_6b", _block_c(128), "average"),
        ("Mixed_6c", _block_c(160), "average"),
        ("Mixed_6d", _block_c(160), "average"),
        ("Mixed_6e", _block_c(192), "average"),
        ("Mixed_7a", _block_d(), "halve"),
        ("Mixed_7b", _block_e(), "average"),
        ("Mixed_7c", _block_e(), "maximum"),
    ]


def _block_a(pooled: int) -> tuple[Branch, ...]:
    return (
        (_step("branch1x1", 64),),
        (_step("branch5x5_1", 48), _step("branch5x5_2", 64, (5, 5))),
        (*_double(), _step("branch3x3dbl_3", 96, (3, 3))),
        (_step("branch_pool", pooled),),
    )


def _block_b() -> tuple[Branch, ...]:
    return (
        (_step("branch3x3", 384, (3, 3), 2),),
        (*_double(), _step("branch3x3dbl_3", 96, (3, 3), 2)),
        (),
    )


def _double() -> Branch:
    return _step("branch3x3dbl_1", 64), _step("branch3x3dbl_2", 96, (3, 3))


def _block_c(inner: int) -> tuple[Branch, ...]:
    wide, high = (1, 7), (7, 1)
    return (
        (_step("branch1x1", 192),),
        (_step("branch7x7_1", inner), _step("branch7x7_2", inner, wide), _step("branch7x7_3", 192, high)),
        (
            _step("branch7x7dbl_1", inner),
            _step("branch7x7dbl_2", inner, high),
            _step("branch7x7dbl_3", inner, wide),
            _step("branch7x7dbl_4", inner, high),
            _step("branch7x7dbl_5", 192, wide),
        ),
        (_step("branch_pool", 192),),
    )


def _block_d() -> tuple[Branch, ...]:
    return (
        (_step("branch3x3_1", 192), _step("branch3x3_2", 320, (3, 3), 2)),
        (
            _step("branch7x7x3_1", 192),
            _step("branch7x7x3_2", 192, (1, 7)),
            _step("branch7x7x3_3", 192, (7, 1)),
            _step("branch7x7x3_4", 192, (3, 3), 2),
        ),
        (),
    )


def _block_e() -> tuple[Branch, ...]:
    wide, high = (1, 3), (3, 1)
    return (
        (_step("branch1x1", 320),),
        (
            _step("branch3x3_1", 384),
            (*_step("branch3x3_2a", 384, wide), *_step("branch3x3_2b", 384, high)),
        ),
        (
            _step("branch3x3dbl_1", 448),
            _step("branch3x3dbl_2", 384, (3, 3)),
            (*_step("branch3x3dbl_3a", 384, wide), *_step("branch3x3dbl_3b", 384, high)),
        ),
        (_step("branch_pool", 192),),
    )
