"""Max-pooling that remembers where, and unpooling that puts values back there."""

from __future__ import annotations

import torch.nn.functional as F

from caselli.layer.resample.base import Scale, Upsampler, convolution, crop, whole
from caselli.shapes import Float, Int, Tensor


def unpool(
    x: Float[Tensor, "B C H W"], switches: Int[Tensor, "B C H W"], size: tuple[int, int]
) -> Float[Tensor, "B C h w"]:
    """Each value at its switch, an index into the h · w positions of the output; zeros elsewhere.

    A switch that two values share (overlapping windows) keeps one of them.

    Example:
        >>> import torch
        >>> unpool(torch.ones(1, 1, 1, 1), torch.tensor([[[[2]]]]), (2, 2))
        tensor([[[[0., 0.],
                  [1., 0.]]]])
    """
    flat = x.new_zeros(*x.shape[:2], size[0] * size[1])
    return flat.scatter(2, switches.flatten(2), x.flatten(2)).view(*x.shape[:2], *size)


def bed_of_nails(x: Float[Tensor, "B C H W"], scale: int) -> Float[Tensor, "B C h w"]:
    """Each value at the upper left of an s × s block of zeros.

    Example:
        >>> import torch
        >>> bed_of_nails(torch.ones(1, 1, 1, 2), 2)
        tensor([[[[1., 0., 1., 0.],
                  [0., 0., 0., 0.]]]])
    """
    batch, width, height, length = x.shape
    padded = F.pad(x[..., None, None], (0, scale - 1, 0, scale - 1))
    return padded.transpose(3, 4).reshape(batch, width, height * scale, length * scale)


class MaxUnpooling(Upsampler):
    """Values go back to where their maximum was, zeros elsewhere; then a 3 × 3 convolution.

    The places come from `MaxPooling.with_switches` on the way down: `unpooling(x, size, switches)`. A decoder
    that has no way down (codes alone, say) gives none, and each value goes to the upper left of its block, as
    in Dosovitskiy et al.

    Arguments:
        width: channels of the input; `out_width`: of the output, `width` unless given.
        scale: s, a whole number.

    Source: Zeiler and Fergus, 2014, "Visualizing and understanding convolutional networks" (switches);
    Dosovitskiy et al., 2015, "Learning to generate chairs with convolutional neural networks" (fixed places).

    Example:
        >>> import torch
        >>> MaxUnpooling(8)(torch.zeros(1, 8, 4, 4)).shape
        torch.Size([1, 8, 8, 8])
    """

    def __init__(self, width: int, out_width: int | None = None, scale: Scale = 2) -> None:
        super().__init__(width, out_width, whole(scale, "unpooling", "nearest, bilinear, bicubic or area"))
        self.convolution = convolution(self.width, self.out_width)

    def forward(
        self,
        x: Float[Tensor, "B width H W"],
        size: tuple[int, int] | None = None,
        switches: Int[Tensor, "B width H W"] | None = None,
    ) -> Float[Tensor, "B out_width out_H out_W"]:
        if switches is None:
            return super().forward(x, size)
        size = size or (x.shape[2] * self.scale, x.shape[3] * self.scale)
        return self.convolution(unpool(x, switches, size))

    def upsample(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return self.convolution(crop(bed_of_nails(x, self.scale), size, self.scale))
