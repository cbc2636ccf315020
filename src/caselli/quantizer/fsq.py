"""Finite scalar quantization: each channel rounded to a few levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import torch
from torch import nn

from caselli.errors import UserError
from caselli.estimator import pass_straight_through
from caselli.quantizer.base import widened
from caselli.quantizer.pointwise import Points, Pointwise
from caselli.quantizer.whitening import Whitening
from caselli.shapes import Float, Int, Tensor

MARGIN = 0.49
"""Distance beyond the outermost levels that channels are squeezed to, at most: they round to those levels."""


class FSQ(Pointwise):
    r"""A few channels, each bounded and rounded to its own number of levels; the product is the codebook.

    .. math::
        b = \tanh(z + s)\,h - o, \qquad q = \mathrm{round}(b) / \lfloor L / 2 \rfloor, \qquad
        h = \tfrac{(L - 1)(1 + 10^{-3})}{2}, \quad o = \tfrac12 [L \text{ even}], \quad
        s = \mathrm{artanh}(o / h)

    The code is Σ level × basis with the first channel the fastest digit. Nothing is learned here but the
    projections between the latents' width and the channels, and there is no loss.

    What the encoder gives need not reach all levels: the outer ones lie in the tails, and where channels are
    correlated few combinations occur. So with `whitening` the channels are first brought to mean zero and
    covariance one, then scaled, z = g u − s, such that normal ones meet each level equally often:

    .. math:: g = \mathrm{artanh}\Big(\frac{L - 2}{L - 1}\Big) \Big/ \Phi^{-1}\Big(1 - \frac1L\Big), \qquad
        g = 1 \text{ for } L = 2

    Arguments:
        width: D; learned projections lead in and out when it is not the number of levels.
        levels: L of each channel, at least 2; K is their product. By default five times 4, K = 1024.
        whitening: decay of the averages that whiten the channels; 0 takes them as they are, which is what was
            published.
        symmetric: levels spread evenly over [−1, 1], both ends included, as in
            q = 2 round((L − 1)(tanh z + 1)/2)/(L − 1) − 1; otherwise even L lean to −1.
        published: the bound as it was published, h = (L − 1)(1 − 10⁻³)/2 and s = tan(o / h), whose levels are
            up to a thousandth narrower; without whitening.

    Raises:
        UserError: for no levels, fewer than two, more codes than 2⁶², a decay outside [0, 1), or a published
            bound that is symmetric or whitened.

    Source: Mentzer et al. 2023, Finite Scalar Quantization: VQ-VAE Made Simple; the whitening is ours.

    Example:
        >>> import torch
        >>> quantizer = FSQ(width=3, levels=(8, 6, 5))
        >>> quantizer.encode(torch.zeros(1, 3, 2))
        tensor([[124, 124]])
        >>> quantizer.decode(torch.tensor([[0]])).flatten()
        tensor([-1., -1., -1.])
    """

    def __init__(
        self,
        width: int,
        *,
        levels: Sequence[int] = (4, 4, 4, 4, 4),
        whitening: float = 0.99,
        symmetric: bool = False,
        published: bool = False,
    ) -> None:
        levels = tuple(levels)
        if not levels or min(levels) < 2 or math.prod(levels) > 1 << 62:
            raise UserError(f"levels {levels} were given", "one or more numbers from 2 on were expected")
        if published and (symmetric or whitening):
            raise UserError(
                f"the published bound was given with symmetric {symmetric} and whitening {whitening}",
                "neither was expected",
                "give symmetric=False and whitening=0",
            )
        super().__init__(width, math.prod(levels), len(levels))
        if self.project_in is not None:  # keeps the variance, so that the first latents reach most levels
            nn.init.normal_(self.project_in.weight, std=width**-0.5)
        self.levels, self.symmetric, self.published = levels, symmetric, published
        self.digits = levels[::-1]
        self.whitening = Whitening(len(levels), decay=whitening) if whitening else None
        basis = [math.prod(levels[:channel]) for channel in range(len(levels))]
        numbers = torch.tensor(levels, dtype=torch.get_default_dtype())
        self.register_buffer("_levels", numbers, persistent=False)
        self.register_buffer("_gains", torch.tensor([_gain(level) for level in levels]), persistent=False)
        self.register_buffer("_basis", torch.tensor(basis), persistent=False)

    def quantize_points(self, points: Float[Tensor, "n d"]) -> Points:
        if self.whitening is not None and self.training and len(points):
            self.whitening.learn(points)
        bounded = self._bounded(points)
        digits = bounded.detach().round()
        values = pass_straight_through(bounded, digits) if self.training else digits
        return Points(self._scaled(values), self._joined(digits), points.new_zeros(()), {})

    def encode_points(self, points: Float[Tensor, "n d"]) -> Int[Tensor, "n"]:
        return self._joined(self._bounded(points).round())

    def decode_points(self, codes: Int[Tensor, "n"]) -> Float[Tensor, "n d"]:
        levels = widened(self._levels)
        digits = codes[:, None] // self._basis % levels.long()
        return self._scaled(digits - self._lowest(levels))

    def _bounded(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Channels squeezed so that rounding gives each its levels."""
        levels = self._levels.to(z.dtype)
        if self.whitening is not None:
            z = self._gains.to(z.dtype) * self.whitening(z)
        if self.symmetric:
            return (levels - 1) * (z.tanh() + 1) / 2
        half = (levels - 1) * (1 - 1e-3 if self.published else 1 + 1e-3) / 2
        half = half.minimum((levels - 1) / 2 + MARGIN)  # of a thousand levels and more
        offset = (1 - levels % 2) / 2
        shift = 0
        if self.whitening is None:
            shift = (offset / half).tan() if self.published else (offset / half).atanh()
        return (z + shift).tanh() * half - offset

    def _scaled(self, digits: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Rounded channels to values in [−1, 1]."""
        levels = self._levels.to(digits.dtype)
        return 2 * digits / (levels - 1) - 1 if self.symmetric else digits / (levels // 2)

    def _lowest(self, levels: Float[Tensor, "d"]) -> Float[Tensor, "d"]:
        """Offset from a level's number to its rounded channel."""
        return torch.zeros_like(levels) if self.symmetric else levels // 2

    def _joined(self, digits: Float[Tensor, "n d"]) -> Int[Tensor, "n"]:
        numbers = digits + self._lowest(self._levels.to(digits.dtype))
        # not a number has a code too, so that a training that diverges gets as far as its loss
        return (numbers.nan_to_num(0.0).to(torch.int64) * self._basis).sum(1)


def _gain(levels: int) -> float:
    """Factor of a standard normal number, so that tanh and rounding give its outer levels, and so
    about all of them, equal shares."""
    if levels == 2:
        return 1.0
    return math.atanh((levels - 2) / (levels - 1)) / NormalDist().inv_cdf(1 - 1 / levels)
