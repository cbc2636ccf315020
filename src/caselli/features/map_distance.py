"""Distance of pictures from each other in the maps of an EfficientNet-Lite."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from caselli.features.base import coloured
from caselli.features.efficientnet import EfficientNetLite
from caselli.features.frozen import Frozen
from caselli.features.lpips import unit
from caselli.shapes import Float, Tensor

SMALLEST = 64
"""Pixels that the shorter side has at least when the network sees it."""


class MapDistance(Frozen):
    r"""Perceptual distance by the maps of five depths: 0 for equal pictures, at most 4.

    .. math:: d(a, b) = \frac15 \sum_l \frac{1}{H_l W_l} \sum_{hw}
        \left\lVert \frac{a_l}{\lVert a_l \rVert} - \frac{b_l}{\lVert b_l \rVert} \right\rVert^2

    over the last maps l at a half, quarter, eighth, sixteenth and 32nd of the pictures' size, norms over
    channels. LPIPS with equal weights on another network. The second pictures are a target: only the first
    ones get a gradient. Pictures below 64 pixels are enlarged bilinearly by the smallest whole factor that
    reaches it. Under autocast the network runs in half precision, norms and sums in float32.

    Arguments:
        network: gives the maps; frozen.

    Source: after Zhang, Isola, Efros, Shechtman, Wang (2018), The unreasonable effectiveness of deep features
    as a perceptual metric.

    Example:
        >>> from caselli.features import EfficientNetLite1
        >>> x = torch.rand(2, 1, 16, 16)
        >>> MapDistance(EfficientNetLite1())(x, x)
        tensor([0., 0.])
    """

    def __init__(self, network: EfficientNetLite) -> None:
        super().__init__()
        self.network = network
        self.freeze()

    def forward(self, made: Float[Tensor, "B C H W"], real: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
        with torch.no_grad():
            targets = self.maps(real)
        return self.from_maps(made, targets)

    def maps(self, pictures: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """The maps of five depths."""
        return self.network.maps(large_enough(coloured(pictures)))

    def from_maps(self, made: Float[Tensor, "B C H W"], targets: Sequence[Tensor]) -> Float[Tensor, "B"]:
        """The distance from pictures whose maps are known."""
        pairs = zip(self.maps(made), targets, strict=True)
        gaps = [(unit(_wide(x)) - unit(_wide(y))).square().sum(1).mean((1, 2)) for x, y in pairs]
        return torch.stack(gaps).mean(0)


def large_enough(pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
    """Pictures below `SMALLEST` pixels enlarged bilinearly by a whole factor.

    Example:
        >>> large_enough(torch.zeros(1, 3, 28, 40)).shape
        torch.Size([1, 3, 84, 120])
    """
    factor = math.ceil(SMALLEST / min(pictures.shape[-2:]))
    return functional.interpolate(pictures, scale_factor=factor, mode="bilinear") if factor > 1 else pictures


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
