"""Networks whose output is a picture or a map: U-Net, FCN, PatchGAN."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from caselli.anatomy.zoo.parts import Convention
from caselli.anatomy.zoo.vgg import vgg
from caselli.layer.resample import UPSAMPLERS
from caselli.shapes import Tensor


def _double(width: int, out_width: int, padding: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, out_width, 3, padding=padding),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_width, out_width, 3, padding=padding),
        nn.ReLU(inplace=True),
    )


def _centre(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle `size` of a picture."""
    rows, columns = ((have - want) // 2 for have, want in zip(x.shape[2:], size, strict=True))
    return x[:, :, rows : rows + size[0], columns : columns + size[1]]


class UNet(nn.Module):
    """Down by halves and up again, each step up joined with the step down of its size.

    Arguments:
        channels, classes: of the picture, and of the map.
        width: channels at full size, doubled at each step down.
        depth: steps.
        upsampler: a name of `UPSAMPLERS`, or "transposed2", the original's 2 × 2 transposed convolution.
        padded: whether convolutions keep the size; the original's do not, and skips are cropped to fit.

    Source: Ronneberger, Fischer and Brox, 2015, "U-Net: convolutional networks for biomedical image
    segmentation".

    Example:
        >>> UNet(width=8)(torch.zeros(1, 3, 50, 35)).shape
        torch.Size([1, 2, 50, 35])
    """

    def __init__(
        self,
        channels: int = 3,
        classes: int = 2,
        width: int = 64,
        depth: int = 4,
        upsampler: str = "transposed2",
        padded: bool = True,
    ) -> None:
        super().__init__()
        self.padded = padded
        widths = [width * 2**step for step in range(depth + 1)]
        padding = int(padded)
        self.down = nn.ModuleList(
            _double(a, b, padding) for a, b in zip([channels, *widths[:-2]], widths[:-1], strict=True)
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=padded)
        self.bottleneck = _double(widths[-2], widths[-1], padding)
        self.up = nn.ModuleList(_upsampler(upsampler, w) for w in widths[:0:-1])
        self.merge = nn.ModuleList(_double(w, w // 2, padding) for w in widths[:0:-1])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
            x = self.pool(x)
        x = self.bottleneck(x)
        for up, merge in zip(self.up, self.merge, strict=True):
            skip, x = skips.pop(), up(x)
            size = tuple(min(a, b) for a, b in zip(skip.shape[2:], x.shape[2:], strict=True))
            skip = skip if self.padded else _centre(skip, size)
            x = merge(torch.cat([skip, x[:, :, : size[0], : size[1]]], 1))
        return self.head(x)


def _upsampler(name: str, width: int) -> nn.Module:
    if name == "transposed2":
        return nn.ConvTranspose2d(width, width // 2, 2, 2)
    return UPSAMPLERS[name](width, width // 2)


def unet(convention: Convention = Convention.TORCHVISION, *, classes: int = 2) -> nn.Module:
    """U-Net; the original's convolutions are not padded (572 pixels become 388), today's are."""
    return UNet(classes=classes, padded=convention is Convention.TORCHVISION)


class FCN(nn.Module):
    """A classifier made convolutional, its coarse map upsampled and joined with finer ones.

    Arguments:
        features: a named sequence whose "pool3", "pool4" and "pool5" end at strides 8, 16 and 32.
        widths: channels at these three.
        classes: of the map.
        stride: 32, 16 or 8: how fine the finest map is that is used.
        head_width: channels of the convolutions that were linear layers, of 7 × 7 and 1 × 1.
        upsampler: a name of `UPSAMPLERS`.

    Source: Long, Shelhamer and Darrell, 2015, "Fully convolutional networks for semantic segmentation".
    """

    def __init__(
        self,
        features: nn.Sequential,
        widths: tuple[int, int, int] = (256, 512, 512),
        classes: int = 21,
        stride: int = 8,
        head_width: int = 4096,
        upsampler: str = "bilinear",
    ) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Sequential(
            nn.Conv2d(widths[2], head_width, 7, padding=3),
            nn.ReLU(inplace=True),
            nn.Conv2d(head_width, head_width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(head_width, classes, 1),
        )
        finer = {32: [], 16: ["pool4"], 8: ["pool4", "pool3"]}[stride]
        self.score = nn.ModuleDict({name: nn.Conv2d(widths[int(name[-1]) - 3], classes, 1) for name in finer})
        self.up = nn.ModuleDict({name: UPSAMPLERS[upsampler](classes) for name in finer})
        self.last = UPSAMPLERS[upsampler](classes, scale=stride)

    def forward(self, x: Tensor) -> Tensor:
        size, maps = x.shape[2:], {}
        for name, layer in self.features.named_children():
            x = maps[name] = layer(x)
        x = self.head(x)
        for name, score in self.score.items():
            x = self.up[name](x, tuple(maps[name].shape[2:])) + score(maps[name])
        return self.last(x, tuple(size))


def fcn(convention: Convention = Convention.TORCHVISION, *, stride: int = 8, classes: int = 21) -> nn.Module:
    """FCN-8s (or 16s, 32s) on VGG-16."""
    return FCN(vgg(convention).features, classes=classes, stride=stride)


def patchgan(
    convention: Convention = Convention.TORCHVISION, *, layers: int = 3, width: int = 64
) -> nn.Module:
    """The discriminator that judges patches: `layers` strided 4 × 4 convolutions, then two of stride 1.

    Source: Isola et al., 2017, "Image-to-image translation with conditional adversarial networks".

    Example:
        >>> from caselli.anatomy import ReceptiveField
        >>> [ReceptiveField(patchgan(layers=n), (3, 256, 256)).at().size[0] for n in (1, 2, 3)]
        [16, 34, 70]
    """
    widths = [min(width * 2**number, width * 8) for number in range(layers + 1)]
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        conv0=nn.Sequential(nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True))
    )
    for number in range(1, layers + 1):
        parts[f"conv{number}"] = nn.Sequential(
            nn.Conv2d(widths[number - 1], widths[number], 4, 2 if number < layers else 1, 1, bias=False),
            nn.BatchNorm2d(widths[number]),
            nn.LeakyReLU(0.2, inplace=True),
        )
    parts["judgement"] = nn.Conv2d(widths[-1], 1, 4, 1, 1)
    return nn.Sequential(parts)
