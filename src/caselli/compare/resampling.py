"""A tiny autoencoder with any resampler, and its measures: checkerboards, aliasing, quality, time."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from caselli.data import generator
from caselli.engine import Generated, Losses, Task, TrainingConfig, fit
from caselli.evaluate import psnr
from caselli.layer import (
    DOWNSAMPLERS,
    UPSAMPLERS,
    bicubic,
    bilinear,
    interpolate_filtered,
    nearest,
    nearest_exact,
)
from caselli.layer import area as area_mean
from caselli.shapes import Float, Tensor

BORDER = 8
"""Pixels at the border that no measure counts."""
WEIGHTLESS = {
    "nearest": nearest,
    "nearest_exact": nearest_exact,
    "bilinear": bilinear,
    "bicubic": bicubic,
    "area": area_mean,
    "zero_insertion": lambda x, size: interpolate_filtered(x, size[0] // x.shape[2]),
}
"""Methods without weights: function of pictures and output size."""


class TinyAutoencoder(nn.Module):
    """An autoencoder through four channels at half the size: too few for pictures to pass without loss.

    Arguments:
        channels: channels of the pictures.
        up, down: names in `UPSAMPLERS` and `DOWNSAMPLERS`.
        width: channels of the hidden layers.
        scale: scale of both resamplers.

    Example:
        >>> TinyAutoencoder(3)(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(
        self, channels: int, up: str = "bilinear", down: str = "strided", width: int = 16, scale: int = 2
    ) -> None:
        super().__init__()
        self.scale = scale
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            DOWNSAMPLERS[down](width, scale=scale),
            nn.ReLU(),
            nn.Conv2d(width, 4, 1),
        )
        self.upsampler = UPSAMPLERS[up](width, scale=scale)
        self.before = nn.Sequential(nn.Conv2d(4, width, 3, padding=1), nn.ReLU())
        self.after = nn.Sequential(nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1))

    def decode(self, latents: Float[Tensor, "B 4 h w"]) -> Float[Tensor, "B C H W"]:
        """Pictures from latents."""
        return self.after(self.upsampler(self.before(latents)))

    def forward(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return self.decode(self.encoder(pictures))

    def resampler(self, way: str, size: tuple[int, int]) -> tuple[nn.Module, tuple[int, int, int]]:
        """The resampler up or down, and the shape of its input for pictures of a size."""
        module = self.upsampler if way == "up" else self.encoder[2]
        divisor = self.scale if way == "up" else 1
        return module, (module.width, *(side // divisor for side in size))


class Reconstruction(Task):
    """Mean squared error of an autoencoder."""

    def __init__(self, network: TinyAutoencoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Float[Tensor, "B C H W"], step: int) -> Losses:
        return Losses(F.mse_loss(self.network(pictures), pictures), {})


def training(steps: int) -> TrainingConfig:
    """A short training: AdamW, a warm-up of a tenth of the steps, then a cosine to zero."""
    return TrainingConfig(steps=steps, learning_rate=4e-3, warmup=steps // 10, clip=0.0)


def trained_autoencoder(
    pictures: Float[Tensor, "n C H W"], *, steps: int = 400, batch: int = 16, seed: int = 0, **resamplers: Any
) -> TinyAutoencoder:
    """A tiny autoencoder trained to least squares; start, order and rate are the same for every resampler.

    Arguments:
        pictures: training set in [-1, 1].
        steps, batch, seed: training steps, pictures in a step, seed of weights and order.
        resamplers: `up`, `down` and `scale` of `TinyAutoencoder`.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = TinyAutoencoder(pictures.shape[1], **resamplers)

    def chosen(step: int) -> Tensor:
        indices = torch.randint(len(pictures), (batch,), generator=generator("autoencoder", seed, step))
        return pictures[indices]

    fit(Reconstruction(network), Generated(chosen), training(steps))
    return network.eval()


@torch.no_grad()
def checkerboard(response: Float[Tensor, "B C H W"], period: int) -> float:
    r"""RMS of the periodic pattern in the response to an even input, over the RMS of the response.

    .. math:: \sqrt{\operatorname{var}_{ij}\, m_{ij} / \langle y^2\rangle}, \qquad
        m_{ij} = \langle y_{i + ps,\, j + qs} \rangle_{pq}

    with the mean m over all pixels of one phase.

    Arguments:
        response: output for an input that is the same everywhere.
        period: period s of the pattern, in pixels.

    Source: Odena et al., 2016, "Deconvolution and checkerboard artifacts" (the effect).

    Example:
        >>> board = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(16, 16)[None, None]
        >>> round(checkerboard(board, 2), 3), checkerboard(torch.ones(1, 1, 32, 32), 2)
        (0.707, 0.0)
    """
    inner = response[:, :, BORDER:-BORDER, BORDER:-BORDER].double()
    height, width = (size // period * period for size in inner.shape[2:])
    phases = F.pixel_unshuffle(inner[:, :, :height, :width], period).mean((2, 3))
    spread = phases.unflatten(1, (-1, period**2)).var(2, correction=0).mean()
    return (spread / inner.square().mean().clamp_min(1e-30)).sqrt().item()


@torch.no_grad()
def fresh_checkerboard(name: str, scale: int = 2, width: int = 16, starts: int = 8, seed: int = 0) -> float:
    """`checkerboard` of an untrained upsampler, on even inputs of random channels."""
    found = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(starts):
            even = torch.randn(4, width, 1, 1).expand(-1, -1, 16, 16)
            found.append(checkerboard(UPSAMPLERS[name](width, scale=scale)(even), scale))
    return sum(found) / len(found)


@torch.no_grad()
def learnt_checkerboard(network: TinyAutoencoder, pictures: Tensor, scale: int = 2) -> float:
    """RMS of the pattern in the output for even latents (pictures' means), in grey levels of 255."""
    even = network.encoder(pictures).mean((2, 3), keepdim=True)
    response = network.decode(even.expand(-1, -1, *(size // scale for size in pictures.shape[2:])))
    inner = response[:, :, BORDER:-BORDER, BORDER:-BORDER].double()
    return checkerboard(response, scale) * inner.square().mean().sqrt().item() * 127.5


@torch.no_grad()
def shift_consistency(network: nn.Module, pictures: Float[Tensor, "B C H W"]) -> float:
    """PSNR in decibels between the outputs for a picture and for the picture shifted by a pixel.

    The second output is shifted back; the border does not count. Without aliasing both are equal.

    Source: Zhang, 2019, "Making convolutional networks shift-invariant again" (the test).

    Example:
        >>> shift_consistency(nn.AvgPool2d(3, 1, 1), torch.rand(1, 1, 32, 32)) > 100
        True
    """
    still, found = network(pictures), []
    inside = slice(BORDER, -BORDER)
    for move in ((1, 0), (0, 1), (1, 1)):
        back = network(pictures.roll(move, (2, 3))).roll((-move[0], -move[1]), (2, 3))
        difference = (back - still)[:, :, inside, inside].square().mean((1, 2, 3))
        found.append((10 * torch.log10(4 / difference.clamp_min(1e-16))).mean())
    return torch.stack(found).mean().item()


@torch.no_grad()
def weightless_psnr(name: str, pictures: Float[Tensor, "B C H W"], scale: int = 2) -> float:
    """PSNR after averaging blocks of `scale` pixels and enlarging them by a method without weights."""
    small = F.avg_pool2d(pictures, scale)
    larger = WEIGHTLESS[name](small, tuple(pictures.shape[2:]))
    return psnr(larger.clamp(-1, 1), pictures).mean().item()


@torch.no_grad()
def milliseconds(module: nn.Module, shape: tuple[int, ...]) -> float:
    """Time of a forward pass, the median of seven after one that is not timed."""
    x, times = torch.randn(shape), []
    for _ in range(8):
        start = time.perf_counter()
        module(x)
        times.append(1000 * (time.perf_counter() - start))
    return sorted(times[1:])[3]
