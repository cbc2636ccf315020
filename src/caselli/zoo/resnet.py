"""ResNet: residual blocks, with the stride where each convention puts it."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from caselli.shapes import Tensor
from caselli.zoo.parts import Convention, classifier, max_pool

COUNTS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}


class Residual(nn.Module):
    """x + body(x), with a shortcut where the shape changes; normalised after (v1) or before (v2) each layer.

    Arguments:
        width, out_width: channels in and out.
        inner: channels of the inner convolutions.
        stride: stride of the block, at layer number `strided`.
        taps: taps of each convolution.
        before: put normalisation and ReLU before each convolution.

    A shortcut that only changes the size takes every s-th pixel.
    """

    def __init__(
        self,
        width: int,
        out_width: int,
        inner: int,
        stride: int,
        taps: tuple[int, ...],
        strided: int,
        before: bool,
    ) -> None:
        super().__init__()
        self.before = before
        widths = [width, *[inner] * (len(taps) - 1), out_width]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, k, stride if number == strided else 1, k // 2, bias=False)
            for number, (a, b, k) in enumerate(zip(widths[:-1], widths[1:], taps, strict=True))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in (widths[:-1] if before else widths[1:]))
        self.relu = nn.ReLU(inplace=False)
        if width != out_width:
            shortcut = nn.Conv2d(width, out_width, 1, stride, bias=before)
            self.shortcut = shortcut if before else nn.Sequential(shortcut, nn.BatchNorm2d(out_width))
        else:
            self.shortcut = nn.MaxPool2d(1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self._before(x) if self.before else self._after(x)

    def _after(self, x: Tensor) -> Tensor:
        y = x
        for number, (layer, norm) in enumerate(zip(self.convolutions, self.norms, strict=True), 1):
            y = norm(layer(y))
            y = self.relu(y) if number < len(self.norms) else y
        return self.relu(y + self.shortcut(x))

    def _before(self, x: Tensor) -> Tensor:
        y = start = self.relu(self.norms[0](x))
        for layer, norm in zip(self.convolutions, [*self.norms[1:], None], strict=True):
            y = layer(y)
            y = y if norm is None else self.relu(norm(y))
        return y + self.shortcut(start if isinstance(self.shortcut, nn.Conv2d) else x)


def resnet(
    convention: Convention = Convention.TORCHVISION,
    *,
    depth: int = 50,
    version: int = 1,
    stride_first: bool = False,
    classes: int = 1000,
) -> nn.Module:
    """ResNet with `depth` layers of weights, for pictures of 3 × 224 × 224.

    torchvision puts a stage's stride on the 3 × 3 convolution of its first block; the paper put it on the
    1 × 1 before it (`stride_first`); TF-Slim puts it on the 3 × 3 of the last block of the stage before.

    Arguments:
        depth: 18, 34, 50, 101, 152 or 200.
        version: 1, or 2 with normalisation before convolution.
        stride_first: with torchvision's convention, the stride on the block's first convolution.

    Source: He et al., 2016, "Deep residual learning for image recognition" and "Identity mappings in deep
    residual networks".
    """
    original = convention is Convention.ORIGINAL
    taps = (3, 3) if depth < 50 else (1, 3, 1)
    strided = 1 if depth >= 50 and not stride_first else 0
    stem: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=version == 2)]
    if version == 1:
        stem += [nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
    stem.append(max_pool(3, 2, same=True) if original else nn.MaxPool2d(3, 2, 1))
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Sequential(*stem))
    width = 64
    for stage, count in enumerate(COUNTS[depth]):
        inner = 64 * 2**stage
        out_width = inner * (4 if depth >= 50 else 1)
        blocks = []
        for number in range(count):
            last, first = number == count - 1 and stage < 3, number == 0 and stage > 0
            stride = 2 if (last if original else first) else 1
            blocks.append(Residual(width, out_width, inner, stride, taps, strided, version == 2))
            width = out_width
        layers[f"block{stage + 1}"] = nn.Sequential(*blocks)
    if version == 2:
        layers["norm"] = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True))
    layers["head"] = classifier(width, classes)
    return nn.Sequential(layers)
