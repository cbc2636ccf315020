"""Bits that what codes leave out of 8-bit pictures takes, under one discretised logistic."""

from __future__ import annotations

import torch

from caselli.shapes import Float, Int, Tensor

HALF_LEVEL = 1 / 255
"""Half the distance of two grey levels on [−1, 1]."""


def residual_bits(residual: Float[Tensor, "n D"]) -> Float[Tensor, "n"]:
    r"""Bits a number of each residual of 8-bit values, the scale s the best for all of them together.

    .. math:: -\log_2\big(\sigma((r + h)/s) - \sigma((r - h)/s)\big), \qquad h = 1/255

    with r the difference on [−1, 1], whose grey levels are 2h apart.

    Arguments:
        residual: differences of pictures and reconstructions, flattened.

    Returns: float64.

    Example:
        >>> residual_bits(torch.tensor([[0.0, 0.0], [1.0, -1.0]])).argmax()
        tensor(1)
    """
    return counted_bits(residual_counts(residual))


def residual_counts(residual: Float[Tensor, "n D"]) -> Int[Tensor, "n L"]:
    """Number of times that each residual is so many grey levels, 0 to 255, on either side: all that its bits
    depend on."""
    levels = (residual * 255 / 2).round().abs().clamp_max(255).long()
    return torch.stack([torch.bincount(row, minlength=256) for row in levels])


def counted_bits(counts: Int[Tensor, "n L"]) -> Float[Tensor, "n"]:
    """`residual_bits` of residuals that were counted, those of a set perhaps batch by batch."""
    size, counts = int(counts[0].sum()), counts.double()
    r = torch.arange(256, dtype=torch.float64) * 2 * HALF_LEVEL
    scales = torch.logspace(-4, 0.5, 200, dtype=torch.float64)[:, None]
    mass = torch.sigmoid((r + HALF_LEVEL) / scales) - torch.sigmoid((r - HALF_LEVEL) / scales)
    bits = -mass.clamp_min(1e-30).log2()
    best = bits[(bits @ counts.sum(0)).argmin()]
    return counts @ best / size
