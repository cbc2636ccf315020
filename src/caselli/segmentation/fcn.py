"""Fully convolutional networks: FCN-32s, FCN-16s, FCN-8s."""

from __future__ import annotations

from torch import nn

from caselli.errors import UserError, lookup
from caselli.features import vgg_stages
from caselli.layer import UPSAMPLERS
from caselli.segmentation.config import SegmenterConfig
from caselli.shapes import Float, Tensor

FINER = {32: (), 16: ("pool4",), 8: ("pool4", "pool3")}
"""Stride of the finest map used → names of the maps that are joined, coarsest first."""


class FCN(nn.Module):
    """A classifier made convolutional, its coarse map upsampled and joined with finer ones.

    Arguments:
        features: a named sequence whose "pool3", "pool4" and "pool5" end at strides 8, 16 and 32.
        widths: channels at these three.
        classes: classes of the map.
        stride: stride of the finest map that is used: 32, 16 or 8.
        head_width: channels of the 7 × 7 and 1 × 1 convolutions that replace the classifier's linear layers.
        upsampler: name in `UPSAMPLERS`.

    Source: Long, Shelhamer and Darrell, 2015, "Fully convolutional networks for semantic segmentation".

    Example:
        >>> import torch
        >>> FCN(vgg_stages(widths=(4,) * 5), (4, 4, 4), head_width=8)(torch.zeros(1, 3, 40, 33)).shape
        torch.Size([1, 21, 40, 33])
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
        if stride not in FINER:
            raise UserError(f"stride {stride} was given", f"one of {', '.join(map(str, FINER))} was expected")
        make = lookup(UPSAMPLERS, "upsampler", upsampler)
        self.features = features
        self.head = nn.Sequential(
            nn.Conv2d(widths[2], head_width, 7, padding=3),
            nn.ReLU(inplace=True),
            nn.Conv2d(head_width, head_width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(head_width, classes, 1),
        )
        finer = FINER[stride]
        self.score = nn.ModuleDict({name: nn.Conv2d(widths[int(name[-1]) - 3], classes, 1) for name in finer})
        self.up = nn.ModuleDict({name: make(classes) for name in finer})
        self.last = make(classes, scale=stride)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        size, maps = x.shape[2:], {}
        for name, layer in self.features.named_children():
            x = maps[name] = layer(x)
        x = self.head(x)
        for name, score in self.score.items():
            x = self.up[name](x, tuple(maps[name].shape[2:])) + score(maps[name])
        return self.last(x, tuple(size))


def small_fcn(config: SegmenterConfig, stride: int) -> FCN:
    """FCN on five stages of two convolutions of `width` to 8 `width` channels, small enough to train quickly.

    Example:
        >>> import torch
        >>> small_fcn(SegmenterConfig(classes=11, width=8), stride=16)(torch.zeros(1, 1, 64, 64)).shape
        torch.Size([1, 11, 64, 64])
    """
    width = config.width
    widths = (width, 2 * width, 4 * width, 8 * width, 8 * width)
    features = vgg_stages((2,) * 5, widths, config.channels, config.norm, keep_border=True)
    return FCN(features, widths[2:], config.classes, stride, 8 * width, config.upsampler)
