"""Closeness of a reconstruction to its original, picture by picture: PSNR, SSIM, MS-SSIM.

Every function takes pictures in [-1, 1]. They are clipped and mapped to [0, 1], as they would be when shown:
SSIM's luminance term is defined for intensities that are not negative.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from caselli.errors import UserError
from caselli.shapes import Float, Tensor

WINDOW, SIGMA = 11, 1.5
"""The Gaussian window of SSIM, in pixels."""
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The weights of MS-SSIM, finest scale first."""
ROUNDING_ERROR = 1 / (12 * 255**2)
"""Mean square error of rounding to 8 bits: pictures nearer than this are equal when written to a file."""


def psnr(a: Float[Tensor, "B C H W"], b: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
    r"""Peak signal-to-noise ratio, in decibels, of each picture.

    .. math:: 10 \log_{10} \frac{1}{\max(\mathrm{mean}\,(a - b)^2,\; 1 / (12 \cdot 255^2))}

    Bounded at 58.9 dB, the error of rounding to 8 bits, so that means over many pictures stay finite when
    some are reproduced exactly.

    Arguments:
        a, b: pictures in [-1, 1]; the order does not matter.

    Example:
        >>> psnr(torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.2))
        tensor([20.0000])
        >>> psnr(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))
        tensor([58.9226])
    """
    a, b = _shown(a, b)
    error = (a - b).square().flatten(1).mean(1)
    return -10 * error.clamp_min(ROUNDING_ERROR).log10()


def ssim(a: Float[Tensor, "B C H W"], b: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
    r"""Structural similarity of each picture, in [-1, 1]; 1 for equal ones.

    .. math:: \frac{(2\mu_a\mu_b + c_1)(2\sigma_{ab} + c_2)}
        {(\mu_a^2 + \mu_b^2 + c_1)(\sigma_a^2 + \sigma_b^2 + c_2)}

    with means and variances under a Gaussian window (11 × 11, σ = 1.5 pixels) wherever it fits wholly into
    the picture, c₁ = 0.01², c₂ = 0.03², averaged over positions and channels. That is the publication's
    definition, and scikit-image's; torchmetrics also averages over mirrored borders, which small pictures
    feel. In a picture smaller than the window, the window is cut to the largest odd size that fits.

    Source: Wang, Bovik, Sheikh, Simoncelli (2004), Image quality assessment: from error visibility to
    structural similarity.

    Example:
        >>> x = torch.rand(2, 3, 16, 16)
        >>> ssim(x, x).round(decimals=4)
        tensor([1., 1.])
    """
    return _similarity(*_shown(a, b))[0]


def ms_ssim(a: Float[Tensor, "B C H W"], b: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
    r"""Multi-scale structural similarity of each picture, in [0, 1].

    .. math:: \mathrm{SSIM}(a_M, b_M)^{w_M} \prod_{j<M} \mathrm{CS}(a_j, b_j)^{w_j}

    where scale j + 1 is scale j averaged over 2 × 2 pixels, and CS is SSIM without its luminance factor;
    negative factors count as zero. Five scales need 176 pixels; in a smaller picture there are as many as
    keep 11 pixels a side (at least one), their weights divided by their sum.

    Source: Wang, Simoncelli, Bovik (2003), Multiscale structural similarity for image quality assessment.

    Example:
        >>> x = torch.rand(1, 1, 64, 64)
        >>> ms_ssim(x, x)
        tensor([1.])
    """
    a, b = _shown(a, b)
    weights = SCALE_WEIGHTS[: _scales(min(a.shape[-2:]))]
    result = torch.ones(len(a), dtype=a.dtype, device=a.device)
    for scale, weight in enumerate(weights):
        whole, structure = _similarity(a, b)
        factor = whole if scale == len(weights) - 1 else structure
        result = result * factor.clamp_min(0) ** (weight / sum(weights))
        a, b = functional.avg_pool2d(a, 2), functional.avg_pool2d(b, 2)
    return result


def _scales(side: int) -> int:
    """Number of halvings that keep the window inside, plus one."""
    return max(1, min(len(SCALE_WEIGHTS), int(math.log2(max(side, WINDOW) / WINDOW)) + 1))


def _shown(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in [0, 1], in float32 at least."""
    if a.shape != b.shape or a.ndim != 4:
        raise UserError(
            f"pictures of shapes {tuple(a.shape)} and {tuple(b.shape)} were given",
            "two batches of one shape B C H W were expected",
        )
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return tuple(x.to(dtype).clamp(-1, 1).add(1).div(2) for x in (a, b))


def _window(side: int, like: Tensor) -> Tensor:
    size = min(WINDOW, side if side % 2 else side - 1)
    offsets = torch.arange(size, dtype=like.dtype, device=like.device) - size // 2
    weights = torch.exp(-offsets.square() / (2 * SIGMA**2))
    return weights / weights.sum()


def _blur(x: Tensor, window: Tensor) -> Tensor:
    """The Gaussian mean at every position where the window fits; separable, so two passes."""
    channels, size = x.shape[1], len(window)
    kernel = window.expand(channels, 1, size)
    x = functional.conv2d(x, kernel[:, :, :, None], groups=channels)
    return functional.conv2d(x, kernel[:, :, None, :], groups=channels)


def _similarity(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM, and its contrast-and-structure factor alone, of each picture."""
    window = _window(min(a.shape[-2:]), a)
    c1, c2 = 0.01**2, 0.03**2
    blurred = _blur(torch.cat((a, b, a * a, b * b, a * b), 1), window)
    mean_a, mean_b, square_a, square_b, product = blurred.chunk(5, 1)
    variances = square_a - mean_a.square() + square_b - mean_b.square()
    structure = (2 * (product - mean_a * mean_b) + c2) / (variances + c2)
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    return (luminance * structure).flatten(1).mean(1), structure.flatten(1).mean(1)


def slope(pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
    """Mean absolute difference of neighbouring pixels, of each picture.

    Example:
        >>> slope(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))
        tensor([0.5000])
    """
    return (pictures.diff(dim=2).abs().mean((1, 2, 3)) + pictures.diff(dim=3).abs().mean((1, 2, 3))) / 2
