"""A picture of a method, for each table of the gallery: the same experiment for every entry of a table."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch.distributions import Bernoulli, Independent, Normal, OneHotCategorical

from caselli import data
from caselli.divergence import Need
from caselli.order import Grid
from caselli.plain import options_of

SIDE, PLANE, TOKENS, WIDTH, ESTIMATES = 192, 48, 48, 16, 240
"""Pixels of a side of a picture, and of the plane; tokens and channels of a mixer; number of estimates."""
INK, PAPER, ACCENT = (38, 70, 83), (255, 255, 255), (231, 111, 81)
COLD, WARM = torch.tensor([247.0, 249.0, 250.0]), torch.tensor([38.0, 70.0, 83.0])


def mixer(kind: Any) -> Image.Image:
    """Row t, column s: the slope of output t by input s over the row's largest, to the power of a third."""
    mix = kind(width=WIDTH).eval()
    x = torch.randn(1, TOKENS, WIDTH).repeat(TOKENS, 1, 1).requires_grad_()
    probed = mix(x)[0] @ torch.randn(WIDTH)
    reach = torch.autograd.grad(probed.diagonal().sum(), x)[0].norm(dim=-1)  # copy t: of output t
    return shaded((reach / reach.amax(1, keepdim=True).clamp_min(1e-12)) ** (1 / 3))


def quantizer(kind: Any) -> Image.Image:
    """The plane of two channels, each place in the colour of the point that it is decoded to."""
    options = {"codebook_size": 16} if "codebook_size" in options_of(kind) else {}
    quantize = kind(2, **options, **kind.options_for(PLANE))
    for _ in range(8):
        quantize(torch.randn(2, 2, PLANE, PLANE))
    quantize.eval()
    axis = torch.linspace(-2.2, 2.2, PLANE)
    plane = torch.stack(torch.meshgrid(axis, axis, indexing="xy"))[None]
    points = quantize(plane).latents[0]
    points = (points - points.amin((1, 2), keepdim=True)) / (points.std() * 4 + 1e-6)
    return picture(torch.stack([points[0], points[1], 1 - points.mean(0)]))


def order(kind: Any) -> Image.Image:
    """Places of a grid of 16 by 16 codes, from the first that is read (light) to the last (dark)."""
    grid = Grid(16, 16)
    when = torch.empty(grid.length)
    when[kind().slots(grid)] = torch.linspace(0, 1, grid.length)
    return shaded(when.view(16, 16))


@functools.cache
def letter() -> torch.Tensor:
    """A held-out letter; the whole set is rendered for it, so once."""
    return data.to_float(data.open("glyphs", split="held_out").read(torch.tensor([40])))


def upsampler(kind: Any) -> Image.Image:
    """A letter of 12 pixels made four times as large, with the weights that the method starts with."""
    small = torch.nn.functional.interpolate(letter(), (12, 12), mode="area").expand(-1, 4, -1, -1)
    return shaded(normal(kind(4, scale=2)(kind(4, scale=2)(small))[0, 0]))


def downsampler(kind: Any) -> Image.Image:
    """Rings, finer outwards, at half the size: what is too fine for it and does not turn grey is an alias."""
    axis = torch.linspace(-1, 1, 96)
    squared = axis[:, None] ** 2 + axis**2
    rings = (60 * squared).cos()[None, None].expand(-1, 4, -1, -1)
    return shaded(normal(kind(4)(rings)[0, 0]))


PROBLEMS: list[tuple[Callable[[torch.Tensor], Any], Callable[[torch.Tensor], torch.Tensor], int]] = [
    (lambda t: Independent(Bernoulli(logits=t), 1), lambda z: (z - 0.45).square().sum(-1), 1),
    (lambda t: OneHotCategorical(logits=t), lambda z: z @ torch.tensor([0.2, 0.5, 1.0]), 3),
    (lambda t: Independent(Normal(t, 1.0), 1), lambda z: (z - 1).square().sum(-1), 1),
]
"""Distributions, and functions of their samples; the first that an estimator serves is taken."""


def estimator(kind: Any) -> Image.Image:
    """Estimates of one gradient from four samples each, as a histogram; the line is their mean."""
    made = kind()
    of, f, size = next(each for each in PROBLEMS if made.accepts(each[0](torch.zeros(each[2]))))
    found = []
    for _ in range(ESTIMATES):
        logits = torch.zeros(size, requires_grad=True)
        found.append(torch.autograd.grad(made(f, of(logits), samples=4).surrogate, logits)[0][0].item())
    values = torch.tensor(found)
    middle, spread = values.mean(), 3.2 * values.std() + 0.02
    counts = torch.histc(values, 32, (middle - spread).item(), (middle + spread).item())
    return bars(counts / counts.max())


def divergence(kind: Any) -> Image.Image:
    """The value between Normal(0, 1) and Normal(μ, 1) over μ from −3 to 3; where a critic is needed, its loss
    over the score s that it gives data, and −s samples."""
    measure, axis = kind(), torch.linspace(-3, 3, 17)
    p, x = Normal(0.0, 1.0), torch.randn(64, 1)
    value = {
        Need.TWO_DENSITIES: lambda m: measure(p, Normal(m, 1.0)).value,
        Need.DENSITY_AND_SAMPLES: lambda m: measure(x[:, 0], Normal(m, 1.0)).value,
        Need.TWO_SAMPLES: lambda m: measure(x, x.flip(0) + m).value,
        Need.CRITIC: lambda m: measure.critic_loss(m.expand(1), -m.expand(1)),
    }[kind.needs]
    return curve(torch.stack([value(m).detach().float().mean() for m in axis]))


DRAWINGS: dict[str, Callable[[Any], Image.Image]] = {
    "MIXERS": mixer,
    "QUANTIZERS": quantizer,
    "ORDERS": order,
    "ESTIMATORS": estimator,
    "DIVERGENCES": divergence,
    "UPSAMPLERS": upsampler,
    "DOWNSAMPLERS": downsampler,
}
"""Table → what draws its entries; its docstring is the legend."""


def normal(values: torch.Tensor) -> torch.Tensor:
    """Values from 0 to 1."""
    values = values.detach()
    return (values - values.min()) / (values.max() - values.min()).clamp_min(1e-12)


def shaded(values: torch.Tensor) -> Image.Image:
    """Numbers from 0 to 1, light to dark."""
    values = values.detach().clamp(0, 1)[..., None]
    pixels = (COLD + values * (WARM - COLD)).round().to(torch.uint8)
    return Image.fromarray(pixels.numpy()).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def picture(colours: torch.Tensor) -> Image.Image:
    """Colours from 0 to 1, `3 H W`."""
    pixels = (colours.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(pixels.contiguous().numpy()).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def bars(heights: torch.Tensor) -> Image.Image:
    """Bars of heights from 0 to 1, with a line in the middle."""
    pixels = torch.tensor(PAPER, dtype=torch.uint8).expand(SIDE, SIDE, 3).clone()
    for place, height in enumerate(heights.tolist()):
        left = place * SIDE // len(heights)
        top = SIDE - round(0.92 * SIDE * height)
        pixels[top:, left : left + SIDE // len(heights) - 1] = torch.tensor(INK, dtype=torch.uint8)
    pixels[:, SIDE // 2 - 1 : SIDE // 2 + 1] = torch.tensor(ACCENT, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def curve(values: torch.Tensor) -> Image.Image:
    """Values over an axis, the largest at the top."""
    heights = torch.nn.functional.interpolate(normal(values)[None, None], SIDE, mode="linear")[0, 0]
    tops = ((1 - heights) * (SIDE - 16) + 8).round().long()
    pixels = torch.tensor(PAPER, dtype=torch.uint8).expand(SIDE, SIDE, 3).clone()
    pixels[:, SIDE // 2] = torch.tensor((220, 226, 229), dtype=torch.uint8)
    for x, (a, b) in enumerate(zip(tops, [*tops[1:], tops[-1]], strict=True)):
        pixels[min(a, b) - 1 : max(a, b) + 2, x] = torch.tensor(INK, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())
