"""A distribution over a pixel, given the pixels before it and the tokenizer's reconstruction."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from caselli.shapes import Float, Int, Tensor

BEFORE = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, -2), (-2, -1), (-2, 1), (0, -3))
"""Offsets (rows, columns) of the earlier pixels that are looked at; left, above and the corners first."""
SHOWN = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))
"""Offsets of the reconstruction's pixels that are looked at."""
ERRORS = 4
"""Number of known pixels that are compared with the reconstruction."""
SLOPE = 2
"""A pixel follows those on earlier lines column + SLOPE · row = constant."""
KNOTS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
LEVELS = 256


@dataclasses.dataclass(frozen=True)
class Places:
    """Pixels of some pictures."""

    picture: Int[Tensor, "n"]
    row: Int[Tensor, "n"]
    column: Int[Tensor, "n"]

    def __getitem__(self, part: slice) -> Places:
        return Places(self.picture[part], self.row[part], self.column[part])

    def __len__(self) -> int:
        return len(self.picture)


@dataclasses.dataclass(frozen=True)
class Context:
    """The known surroundings of pixels: earlier pixels, and the reconstruction."""

    before: Int[Tensor, "n N C"]
    """The known pixels of `BEFORE`; the reconstruction's where they lie outside of the picture."""
    shown: Int[Tensor, "n S C"]
    """The reconstruction at `SHOWN`."""
    shown_before: Int[Tensor, "n e C"]
    """The reconstruction at the first `ERRORS` of `BEFORE`."""
    middle: Int[Tensor, "n C"]
    """The median of left, above, and the plane through left, above and above left."""

    def __getitem__(self, part: slice) -> Context:
        return Context(self.before[part], self.shown[part], self.shown_before[part], self.middle[part])


def context(
    pixels: Int[Tensor, "B C H W"], reconstruction: Int[Tensor, "B C H W"], places: Places
) -> Context:
    """The context of some pixels.

    Source: Weinberger, Seroussi, Sapiro 2000, The LOCO-I lossless image compression algorithm (the median).

    Example:
        >>> x, zero = torch.full((1, 1, 2, 2), 7), torch.zeros(1, dtype=torch.int64)
        >>> context(x, x, Places(zero, zero, zero)).middle
        tensor([[7]])
    """
    before = _around(pixels, reconstruction, places, BEFORE)
    shown = _around(reconstruction, reconstruction, places, SHOWN)
    shown_before = _around(reconstruction, reconstruction, places, BEFORE[:ERRORS])
    left, above, corner = before[:, 0], before[:, 1], before[:, 2]
    low, high = torch.minimum(left, above), torch.maximum(left, above)
    middle = torch.maximum(low, torch.minimum(high, left + above - corner))
    return Context(before, shown, shown_before, middle)


def _around(inside: Tensor, outside: Tensor, places: Places, offsets) -> Int[Tensor, "n N C"]:
    """Pixels at offsets from places; the nearest of `outside` beyond the border."""
    _, channels, height, width = inside.shape
    down, right = torch.tensor(offsets, device=inside.device).T
    row, column = places.row[:, None] + down, places.column[:, None] + right
    near_row, near_column = row.clamp(0, height - 1), column.clamp(0, width - 1)
    within = (row == near_row) & (column == near_column)
    first = (places.picture[:, None] * channels * height + near_row) * width + near_column
    index = first[..., None] + torch.arange(channels, device=inside.device) * height * width
    return torch.where(within[..., None], inside.reshape(-1)[index], outside.reshape(-1)[index])


def squashed(difference: Int[Tensor, "*A"], dtype: torch.dtype) -> Float[Tensor, "*A"]:
    """Differences within (−1, 1), the small ones spread.

    Example:
        >>> squashed(torch.tensor([0, 16, -16]), torch.float32).tolist()
        [0.0, 0.5, -0.5]
    """
    x = difference.to(dtype)
    return x / (x.abs() + 16)


@dataclasses.dataclass(frozen=True)
class ResidualConfig:
    """Architecture of a residual model."""

    channels: int = 3
    """C, channels of the pictures."""
    width: int = 48
    """Width of the two hidden layers."""


class ResidualModel(nn.Module):
    r"""p(value of a channel | pixels before, channels before, reconstruction), as logits over its 256 values.

    .. math:: \mathrm{logit}(v) = f(v - m) + g(v - m') + \sum_j b_j\, [v = c_j]

    f and g are piecewise linear around the median prediction m and around m' (m shifted by what the channel
    before differed from its own, or the reconstruction), b are bonuses for the values c of known pixels.
    Knots and bonuses come from a small network of each channel.

    Arguments:
        config: channels and width.

    Sources: van den Oord, Kalchbrenner, Kavukcuoglu 2016, Pixel Recurrent Neural Networks; Mentzer, Van Gool,
    Tschannen 2020, Learning Better Lossless Compression Using Lossy Compression.
    """

    def __init__(self, config: ResidualConfig = ResidualConfig()) -> None:
        super().__init__()
        self.config = config
        c, n, width = config.channels, len(BEFORE), config.width
        inputs = n * c + c + n + n + len(SHOWN) * c + ERRORS * c + c
        knots = 2 * len(KNOTS) - 1
        self.networks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(inputs, width),
                nn.ReLU(),
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Linear(width, 2 * knots + n + 1),
            )
            for _ in range(c)
        )
        self.register_buffer("hats", _hats(), persistent=False)
        self._start(knots)

    def _start(self, knots: int) -> None:
        """Sets the initial distribution: likely are values near a prediction, and values of known pixels."""
        far = torch.tensor([*KNOTS[:0:-1], *KNOTS], dtype=torch.float32)
        for network in self.networks:
            with torch.no_grad():
                network[-1].weight.mul_(0.1)
                network[-1].bias[: 2 * knots] = -torch.log1p(far).repeat(2)
                network[-1].bias[2 * knots :] = 1.0

    def forward(self, known: Context, values: Int[Tensor, "n C"], channel: int) -> Float[Tensor, "n 256"]:
        """Logits of a channel; of `values` those of earlier channels are looked at."""
        network, knots = self.networks[channel], len(self.hats)
        out = network(self._features(known, values, channel))
        curves = (out[:, : 2 * knots].reshape(-1, knots) @ self.hats).unflatten(0, (-1, 2))  # n 2 511
        levels = torch.arange(LEVELS, device=out.device)
        logits = torch.zeros_like(curves[:, 0, :LEVELS])
        for number, centre in enumerate(self._centres(known, values, channel)):
            logits = logits + curves[:, number].gather(1, levels - centre[:, None] + LEVELS - 1)
        candidates = torch.cat((known.before[:, :, channel], known.shown[:, :1, channel]), 1)
        return logits.scatter_add(1, candidates, out[:, 2 * knots :])

    def _centres(self, known: Context, values: Tensor, channel: int) -> tuple[Tensor, Tensor]:
        middle = known.middle[:, channel]
        if channel == 0:
            return middle, known.shown[:, 0, 0]
        shift = values[:, channel - 1] - known.middle[:, channel - 1]
        return middle, (middle + shift).clamp(0, LEVELS - 1)

    def _features(self, known: Context, values: Tensor, channel: int) -> Float[Tensor, "n F"]:
        dtype, middle = self.hats.dtype, known.middle[:, None]
        earlier = torch.arange(values.shape[1], device=values.device) < channel
        alike = (known.before == values[:, None]) | ~earlier
        parts = (
            squashed(known.before - middle, dtype).flatten(1),
            squashed((values - known.middle) * earlier, dtype),
            alike.all(2).to(dtype),
            (known.before == known.before[:, :1]).all(2).to(dtype),
            squashed(known.shown - middle, dtype).flatten(1),
            squashed(known.before[:, :ERRORS] - known.shown_before, dtype).flatten(1),
            known.middle.to(dtype) * (1 / LEVELS),
        )
        return torch.cat(parts, 1)


def _hats() -> Float[Tensor, "knots 511"]:
    """Piecewise-linear functions of the differences −255 … 255, each 1 at its knot and 0 at the others."""
    knots = torch.tensor([-k for k in KNOTS[:0:-1]] + list(KNOTS), dtype=torch.float64)
    x = torch.arange(1 - LEVELS, LEVELS, dtype=torch.float64)
    right = torch.searchsorted(knots, x, right=True)
    share = (x - knots[right - 1]) / (knots[right] - knots[right - 1])
    hats = (
        F.one_hot(right - 1, len(knots)) * (1 - share[:, None])
        + F.one_hot(right, len(knots)) * share[:, None]
    )
    return hats.T.contiguous().float()
