"""Distance of a set of pictures from another one by the moments of a network's maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain

import torch
from torch import nn
from torch.nn import functional

from caselli.features.base import coloured
from caselli.features.efficientnet import EfficientNetLite
from caselli.features.map_distance import large_enough
from caselli.layer import Borrowed
from caselli.shapes import Float, Tensor

EPSILON = 1e-5
"""Added to variances."""
MEMORY = 0.8
"""Share of the moments of earlier batches in those that are compared."""
PLAIN = 0.02
"""Difference of neighbouring pixels, in a range of 2, below which a place is plain."""
MOSTLY = 0.65
"""Share of plain places from which pictures are drawings: photographs have 0.2, clothes 0.5, emoji 0.7."""

Maps = Callable[[Float[Tensor, "B 3 H W"]], list[Float[Tensor, "B F h w"]]]
"""Pictures → maps of several depths."""


class MomentDistance(nn.Module):
    r"""Distance of a set of pictures from real ones by the first two moments of a network's maps.

    .. math:: \frac1S \sum_s \Big\langle \frac{(m_s - \mu_s)^2}{\sigma_s^2} \Big\rangle
        + \Big\langle \frac{(v_s - \sigma_s)^2}{\sigma_s^2} \Big\rangle

    with m and v the means and deviations of the set's channels, μ and σ those of real pictures, over
    statistics s: each map over pictures and places, and, as a measure of texture, its deviation within each
    picture. No picture belongs to another one, so it trains what has no target. Moments of earlier batches
    count too, so that the noise of a batch is no gap; the gradient is the batch's.

    A network takes a grid of single pixels for the contrast that soft pictures lack, so that a decoder
    taught by it draws one. Eyes see it where pictures are plain: of drawings, real and drawn, the network
    sees `softened` ones. In photographs the contrast of single pixels is real, and counts.

    Arguments:
        network: a module with frozen weights.
        maps: pictures → maps of several depths, by that network.

    Sources: after Salimans et al. 2016, Improved Techniques for Training GANs (feature matching); Mroueh,
    Sercu, Goel 2017, McGan: Mean and Covariance Feature Matching GAN.

    Example:
        >>> distance = MomentDistance(nn.Identity(), lambda x: [x])
        >>> x = torch.rand(8, 3, 8, 8)
        >>> distance.measure([x])
        >>> round(distance(x).item(), 4)
        0.0
    """

    def __init__(self, network: nn.Module, maps: Maps) -> None:
        super().__init__()
        self.network, self.maps = Borrowed(network), maps
        self.softens = False
        self.register_buffer("real", torch.empty(0))
        self.register_buffer("recent", torch.empty(0))
        self.register_buffer("weights", torch.empty(0))

    @torch.no_grad()
    def measure(self, batches: Iterable[Float[Tensor, "B C H W"]]) -> None:
        """Takes the moments of real pictures, as means over batches; each has 64 pictures or more."""
        batches = iter(batches)
        first = next(batches)
        self.softens = plain_share(first) > MOSTLY
        found = [self._moments(batch) for batch in chain([first], batches)]
        self.real = sum(torch.cat(moments, 1) for moments in found) / len(found)
        self.recent = self.real.clone()
        sizes = [moments.shape[1] for moments in found[0]]
        # every statistic counts alike
        shares = [torch.full((size,), 1 / (size * len(sizes))) for size in sizes]
        self.weights = torch.cat(shares).to(self.real.device)

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, ""]:
        """The distance of a batch, which is remembered."""
        own = torch.cat(self._moments(pictures), 1)
        with torch.no_grad():
            earlier = MEMORY * (self.recent - own)
            self.recent = own + earlier
        # the value is the average's, the gradient the batch's
        gaps = (own + earlier - self.real) / self.real[1]
        return (self.weights * gaps.square()).sum()

    def _moments(self, pictures: Tensor) -> list[Float[Tensor, "2 F"]]:
        """Means and deviations of the channels of each map, and of their deviations within a picture."""
        self.network.on(pictures.device)
        seen = softened(pictures) if self.softens else pictures
        found = []
        for x in self.maps(large_enough(coloured(seen))):
            x = x.float()
            found.append(torch.stack([x.mean((0, 2, 3)), _deviation(x, (0, 2, 3))]))
            if x.shape[2] * x.shape[3] > 1:
                texture = _deviation(x, (2, 3))
                found.append(torch.stack([texture.mean(0), _deviation(texture, (0,))]))
        return found


def seen_by(network: EfficientNetLite) -> Maps:
    """The maps of five depths of a network, and its features before they are pooled."""

    def maps(x: Tensor) -> list[Tensor]:
        found = network.maps(x)
        return [*found, functional.relu6(network.head(found[-1]))]

    return maps


def softened(pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """The pictures under the filter (1, 2, 1) / 4 along rows and columns, which passes nothing of a grid of
    single pixels.

    Such a grid has much of the contrast that a network misses in soft pictures, and costs little else, so
    that a decoder which is taught by what the network sees of its pictures as they are draws it.

    Example:
        >>> softened((-1.0) ** torch.arange(4).expand(1, 1, 4, 4)).abs().max()
        tensor(0.)
    """
    twice = functional.pad(pictures, (1, 1, 1, 1), mode="reflect")
    return functional.avg_pool2d(functional.avg_pool2d(twice, 2, 1), 2, 1)


def plain_share(pictures: Float[Tensor, "B C H W"]) -> float:
    """Share of neighbouring pixels, along rows and columns, that hardly differ.

    Example:
        >>> round(plain_share(torch.tensor([[[[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]]])), 2)
        0.75
    """
    corner = pictures[..., 1:, 1:]
    slopes = torch.stack([corner - pictures[..., 1:, :-1], corner - pictures[..., :-1, 1:]])
    return (slopes.abs() < PLAIN).float().mean().item()


def pyramid(pictures: Float[Tensor, "B C H W"], scales: int = 4) -> list[Float[Tensor, "B F h w"]]:
    """Values and slopes at full size and at halves of it: maps without a network.

    Example:
        >>> [tuple(x.shape) for x in pyramid(torch.zeros(1, 3, 16, 16))]
        [(1, 9, 15, 15), (1, 9, 7, 7)]
    """
    found = []
    for _ in range(scales):
        corner = pictures[..., 1:, 1:]
        found.append(torch.cat([corner, corner - pictures[..., 1:, :-1], corner - pictures[..., :-1, 1:]], 1))
        pictures = functional.avg_pool2d(pictures, 2)
        if min(pictures.shape[2:]) < 8:
            break
    return found


def _deviation(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return (x.var(axes, correction=0) + EPSILON).sqrt()
