"""Random networks of every layer that anatomy knows, as strategies of hypothesis."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn

from caselli.shapes import Tensor

CHANNELS = 4
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
MEANS = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
ADAPTIVE = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
LINEAR_MODES = ("linear", "bilinear", "trilinear")


class Apply(nn.Module):
    """A function as a module."""

    def __init__(self, function, words: str) -> None:
        super().__init__()
        self.function, self.words = function, words

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)

    def extra_repr(self) -> str:
        return self.words


class Join(nn.Module):
    """Two branches added or joined along channels, cropped to the smaller."""

    def __init__(self, left: nn.Module, right: nn.Module, joined: bool) -> None:
        super().__init__()
        self.left, self.right, self.joined = left, right, joined

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.left(x), self.right(x)
        size = [min(m, n) for m, n in zip(a.shape[2:], b.shape[2:], strict=True)]
        window = (slice(None), slice(None), *(slice(n) for n in size))
        a, b = a[window], b[window]
        return torch.cat([a[:, : CHANNELS // 2], b[:, CHANNELS // 2 :]], 1) if self.joined else a + b


class Attention(nn.Module):
    """Attention over all positions, or over blocks of two along the last axis."""

    def __init__(self, windowed: bool) -> None:
        super().__init__()
        self.windowed = windowed

    def forward(self, x: Tensor) -> Tensor:
        if self.windowed and x.shape[-1] % 2 == 0:
            tokens = x.unflatten(-1, (-1, 2)).movedim(1, -1)
            y = F.scaled_dot_product_attention(tokens, tokens, tokens)
            return y.movedim(-1, 1).flatten(-2)
        tokens = x.flatten(2).transpose(1, 2)
        scores = F.softmax(tokens @ tokens.transpose(1, 2), dim=-1)
        return (scores @ tokens).transpose(1, 2).reshape(x.shape)


def circular(x: Tensor) -> Tensor:
    return F.pad(x, [1, 1] * (x.dim() - 2), mode="circular")


def layers(space: int) -> st.SearchStrategy[nn.Module]:
    """One layer that keeps `CHANNELS`."""
    small, c = st.integers(1, 3), CHANNELS

    def pad(mode: str):
        return lambda x: F.pad(x, [2, 1] * (x.dim() - 2), mode=mode)

    def resize(scale, mode, corners):
        options = {"align_corners": corners} if mode in (*LINEAR_MODES, "bicubic") else {}
        return Apply(
            lambda x: F.interpolate(x, [max(1, int(n * scale)) for n in x.shape[2:]], mode=mode, **options),
            f"{mode} {scale} {corners}",
        )

    modes = [LINEAR_MODES[space - 1], "nearest", "nearest-exact", "area"] + ["bicubic"] * (space == 2)
    every = [
        st.builds(
            lambda k, s, p, d, g: CONVOLUTIONS[space - 1](c, c, k, s, min(p, k), d, g, bias=False),
            *(small, small, st.integers(0, 2), small, st.sampled_from([1, 2, 4])),
        ),
        st.builds(
            lambda k, s, p, d: TRANSPOSED[space - 1](
                c, c, k, s, min(p, d * (k - 1)), min(1, max(s, d) - 1), dilation=d, bias=False
            ),
            *(st.integers(1, 4), small, st.integers(0, 2), st.integers(1, 2)),
        ),
        st.builds(
            lambda k, s, p, up: MAXIMA[space - 1](k, s, min(p, k // 2), ceil_mode=up),
            *(st.integers(2, 3), small, st.integers(0, 1), st.booleans()),
        ),
        st.builds(
            lambda k, s, p: MEANS[space - 1](k, s, min(p, k // 2)),
            st.integers(2, 3),
            small,
            st.integers(0, 1),
        ),
        st.builds(lambda n: ADAPTIVE[space - 1](n), st.integers(1, 4)),
        st.builds(resize, st.sampled_from([0.5, 0.7, 1.5, 2, 3]), st.sampled_from(modes), st.booleans()),
        st.just(Apply(lambda x: F.pad(x, [1, 2] * (x.dim() - 2)), "zero padding")),
        st.just(Apply(pad("replicate"), "replicate padding")),
        st.just(Apply(lambda x: x[..., 1:, :-1] if x.dim() > 3 else x[..., 1:], "crop")),
        st.just(Apply(lambda x: x[..., ::2], "every other")),
        st.just(Apply(lambda x: x.flip(-1), "flip")),
        st.just(Apply(lambda x: x.roll(1, -1), "roll")),
        st.just(Apply(lambda x: x.transpose(2, -1), "transpose")),
        st.just(Apply(lambda x: x + x.mean(-1, keepdim=True), "mean along an axis")),
        st.just(Apply(lambda x: torch.cat(x.chunk(2, 1)[::-1], 1), "channels swapped")),
        st.just(Apply(circular, "circular padding")),
        st.just(Apply(pad("reflect"), "reflect padding")),
        st.builds(Attention, st.booleans()),
        st.just(nn.GroupNorm(2, c)),
        st.just(nn.Sequential(BATCH_NORMS[space - 1](c), nn.ReLU())),
    ]
    if space == 2:
        every.append(st.just(nn.Sequential(nn.Conv2d(c, 4 * c, 1, groups=4, bias=False), nn.PixelShuffle(2))))
        every.append(
            st.just(nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * c, c, 1, groups=2, bias=False)))
        )
    return st.one_of(every)


def networks(space: int) -> st.SearchStrategy[nn.Module]:
    """Up to four layers in a row, some of them two branches."""
    one = layers(space)
    row = st.lists(one, min_size=1, max_size=2).map(lambda parts: nn.Sequential(*parts))
    fork = st.builds(Join, row, row, st.booleans())
    return st.lists(st.one_of(one, one, fork), min_size=1, max_size=4).map(
        lambda parts: nn.Sequential(*parts)
    )
