"""DySample: bilinear sampling at positions that are moved by the content."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from caselli.layer.resample.base import Scale, Upsampler, convolution, crop, whole
from caselli.shapes import Float, Tensor


def sample_bilinear(
    x: Float[Tensor, "B C H W"], positions: Float[Tensor, "B groups 2 h w"]
) -> Float[Tensor, "B C h w"]:
    """Bilinear values at `positions` in input pixels (x, then y; pixel centres at whole numbers).

    Positions outside are moved to the border. The channels are split into as many groups as there are sets of
    positions.

    Example:
        >>> sample_bilinear(torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([0.25, 0.0]).view(1, 1, 2, 1, 1))
        tensor([[[[0.2500]]]])
    """
    batch, groups = positions.shape[:2]
    sizes = torch.tensor([x.shape[3], x.shape[2]], dtype=positions.dtype, device=x.device)
    grid = (2 * positions.flatten(0, 1).permute(0, 2, 3, 1) + 1) / sizes - 1
    grouped = x.reshape(batch * groups, -1, *x.shape[2:])
    sampled = F.grid_sample(grouped, grid.to(x.dtype), padding_mode="border", align_corners=False)
    return sampled.view(batch, -1, *sampled.shape[2:])


class DySample(Upsampler):
    r"""Bilinear upsampling whose sampling positions move with the content, then a 3 × 3 convolution.

    .. math:: y(o) = x\big(\tfrac{o + 1/2}{s} - \tfrac12 + \tfrac14\, \mathrm{shuffle}_s(W x)(o)\big)

    One set of positions for each group of channels. Starts within a hair of bilinear.

    Arguments:
        width: channels of the input; `out_width`: of the output, `width` unless given.
        scale: s, a whole number.
        groups: sets of positions, a divisor of the width; the largest up to 4 unless given.

    Source: Liu et al., 2023, "Learning to upsample by learning to sample" (static
    scope, linear before shuffle).

    Example:
        >>> DySample(8)(torch.zeros(1, 8, 4, 5)).shape
        torch.Size([1, 8, 8, 10])
    """

    def __init__(
        self, width: int, out_width: int | None = None, scale: Scale = 2, *, groups: int | None = None
    ) -> None:
        super().__init__(width, out_width, whole(scale, "DySample", "nearest, bilinear, bicubic or area"))
        self.groups = groups or math.gcd(width, 4)
        self.offset = nn.Conv2d(width, 2 * self.groups * self.scale**2, 1)
        nn.init.normal_(self.offset.weight, std=0.001)
        nn.init.zeros_(self.offset.bias)
        self.convolution = convolution(self.width, self.out_width)

    def positions(self, x: Float[Tensor, "B width H W"]) -> Float[Tensor, "B groups 2 h w"]:
        """Positions at which the outputs are read, in input pixels."""
        offsets = F.pixel_shuffle(0.25 * self.offset(x), self.scale)
        rows = (torch.arange(offsets.shape[2], device=x.device) + 0.5) / self.scale - 0.5
        columns = (torch.arange(offsets.shape[3], device=x.device) + 0.5) / self.scale - 0.5
        # at least float32: half precision has no sub-pixel positions left beyond a few hundred pixels
        start = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
        dtype = torch.promote_types(x.dtype, torch.float32)
        return offsets.unflatten(1, (self.groups, 2)).to(dtype) + start.to(dtype)

    def upsample(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return self.convolution(crop(sample_bilinear(x, self.positions(x)), size, self.scale))
