"""Networks whose output is a picture or a map: U-Net, FCN, PatchGAN."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from caselli.segmentation import FCN, UNet
from caselli.zoo.parts import Convention
from caselli.zoo.vgg import vgg


def unet(convention: Convention = Convention.TORCHVISION, *, classes: int = 2) -> nn.Module:
    """U-Net; the original's convolutions are not padded (572 pixels become 388), today's are."""
    return UNet(classes=classes, padded=convention is Convention.TORCHVISION)


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
