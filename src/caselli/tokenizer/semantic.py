"""A head by which codes tell what a network knows of the pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from caselli.quantizer.base import widened
from caselli.shapes import Float, Tensor


class SemanticTarget(nn.Module):
    r"""A head that tells the maps of a network from the quantized latents; it is trained along, then left.

    .. math:: \frac1L \sum_l \Big(1 - \frac{1}{H_l W_l} \sum_{hw}
        \cos\big(A_l\, \mathrm{GELU}(B z),\, m_l(x)\big)_{hw}\Big)

    over the last maps m_l that the network makes of a picture x, with linear layers A and B at each place:
    0 at best, 2 at worst. Both sides are averaged to the coarser of their grids; latents on one axis tell the
    mean of each map. A code is so chosen for what it shows and not for its pixels alone: a prior predicts it
    more easily, at equal reconstructions.

    Arguments:
        width: D, the latents' channels.
        channels: of each map that is told.

    Source: Li, Qiu, Chen, Kuen, Lin, Singh, Raj 2024, ImageFolder (its semantic regularisation).

    Example:
        >>> target = SemanticTarget(16, channels=[112, 320])
        >>> maps = torch.rand(2, 112, 4, 4), torch.rand(2, 320, 2, 2)
        >>> target(torch.zeros(2, 16, 8, 8), maps).shape
        torch.Size([])
    """

    def __init__(self, width: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.inner = nn.Conv2d(width, 4 * width, 1)
        self.outer = nn.ModuleList(nn.Conv2d(4 * width, each, 1) for each in channels)

    def forward(
        self, latents: Float[Tensor, "B D *S"], maps: Sequence[Float[Tensor, "B F h w"]]
    ) -> Float[Tensor, ""]:
        if latents.dim() == 3:
            latents = latents.mean(2)[..., None, None]
        hidden = functional.gelu(self.inner(latents))
        gaps = [_gap(layer, hidden, there) for layer, there in zip(self.outer, maps, strict=True)]
        return torch.stack(gaps).mean()


def _gap(layer: nn.Module, hidden: Tensor, there: Tensor) -> Float[Tensor, ""]:
    """One less the mean cosine of what is told and what is there."""
    grid = [min(sides) for sides in zip(hidden.shape[2:], there.shape[2:], strict=True)]
    told = layer(functional.adaptive_avg_pool2d(hidden, grid))
    there = functional.adaptive_avg_pool2d(there, grid)
    return 1 - functional.cosine_similarity(widened(told), widened(there), 1).mean()
