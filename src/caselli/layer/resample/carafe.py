"""CARAFE: each output is a weighted sum of its input neighbourhood, with weights made from the content."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from caselli.layer.resample.base import Scale, Upsampler, convolution, crop, whole
from caselli.shapes import Float, Tensor


def reassemble(
    x: Float[Tensor, "B C H W"], weights: Float[Tensor, "B taps h w"], reach: int, scale: int
) -> Float[Tensor, "B C h w"]:
    r"""The weighted sum over a (2r+1) × (2r+1) neighbourhood of each output's input pixel, zeros outside.

    .. math:: y_{c,\,hs+i,\,ws+j} = \sum_{m,n=-r}^{r} k_{mn}(hs+i,\, ws+j)\; x_{c,\,h+m,\,w+n}

    One tap at a time: the memory stays that of the output, where an unfolded input has (2r+1)² times its own.

    Arguments:
        x: the picture.
        weights: one for each tap (row by row) and output.
        reach: r.
        scale: s.
    """
    batch, width, height, length = x.shape
    blocks = F.pixel_unshuffle(weights, scale).view(batch, -1, 1, scale**2, height, length)
    padded = F.pad(x, (reach, reach, reach, reach))
    taps = 2 * reach + 1
    y = x.new_zeros(())
    for row in range(taps):
        for column in range(taps):
            shifted = padded[:, :, None, row : row + height, column : column + length]
            y = y + shifted * blocks[:, row * taps + column]
    return F.pixel_shuffle(y.reshape(batch, width * scale**2, height, length), scale)


class CARAFE(Upsampler):
    r"""Content-aware reassembly of features, then a 3 × 3 convolution.

    .. math:: k = \operatorname{softmax}\big(\mathrm{shuffle}_s(W_2 * (W_1 x))\big), \qquad
        y = \mathrm{reassemble}(x, k)

    Arguments:
        width: channels of the input; `out_width`: of the output, `width` unless given.
        scale: s, a whole number.
        taps: size of the neighbourhood, odd; the encoder of the weights sees `taps − 2`.
        compressed_width: channels of W₁ x.

    Source: Wang et al., 2019, "CARAFE: content-aware reassembly of features".

    Example:
        >>> import torch
        >>> CARAFE(8)(torch.zeros(1, 8, 4, 5)).shape
        torch.Size([1, 8, 8, 10])
    """

    def __init__(
        self,
        width: int,
        out_width: int | None = None,
        scale: Scale = 2,
        *,
        taps: int = 5,
        compressed_width: int = 64,
    ) -> None:
        super().__init__(width, out_width, whole(scale, "CARAFE", "nearest, bilinear, bicubic or area"))
        self.reach = taps // 2
        encoder_taps = max(1, taps - 2)
        self.compress = nn.Conv2d(self.width, compressed_width, 1)
        self.encode = nn.Conv2d(
            compressed_width, self.scale**2 * taps**2, encoder_taps, padding=encoder_taps // 2
        )
        nn.init.normal_(self.encode.weight, std=0.001)  # nearly even weights at the start: a blur
        nn.init.zeros_(self.encode.bias)
        self.convolution = convolution(self.width, self.out_width)

    def weights(self, x: Float[Tensor, "B width H W"]) -> Float[Tensor, "B taps h w"]:
        """The softmaxed weights of every output's neighbourhood."""
        return F.pixel_shuffle(self.encode(self.compress(x)), self.scale).softmax(1)

    def upsample(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        larger = reassemble(x, self.weights(x), self.reach, self.scale)
        return self.convolution(crop(larger, size, self.scale))
