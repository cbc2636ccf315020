"""Resamplers side by side: checkerboard, aliasing, reconstruction of pictures, cost.

`CASELLI_PICTURES` names a folder of pictures; without it noise takes their place. For each upsampler a small
autoencoder (one fixed downsampler, the upsampler under test) is trained on the same crops from the same seed;
for each downsampler likewise with a fixed upsampler. Columns:

checkerboard  share of energy at the frequencies of the output grid, for constant maps and random weights
shift         mean |f(shift x) − shift f(x)| over the spread of f(x), for a shift of one pixel
PSNR          of the autoencoder on pictures that it was not trained on, decibel
MMACs, ms     forward, of one 64 × 64 map
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from bench.measure import seconds, table
from caselli.anatomy import cost
from caselli.layer import DOWNSAMPLERS, UPSAMPLERS


def crops(folder: Path | None, count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Random crops in [−1, 1]."""
    paths = (
        sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
        if folder
        else []
    )
    if not paths:
        return torch.rand(count, 3, size, size, generator=generator) * 2 - 1
    found = []
    for number in range(count):
        picture = Image.open(paths[number % len(paths)]).convert("RGB")
        scale = size / min(picture.size)
        if scale > 1:
            picture = picture.resize([max(size, round(n * scale)) for n in picture.size])
        top, left = (
            int(torch.randint(n - size + 1, (), generator=generator)) for n in reversed(picture.size)
        )
        part = np.asarray(picture)[top : top + size, left : left + size]
        found.append(torch.tensor(part).movedim(-1, 0).float() / 127.5 - 1)
    return torch.stack(found)


@torch.no_grad()
def checkerboard(module: nn.Module, width: int, scale: int = 2) -> float:
    """Share of energy at the grid's frequencies, for constant channels; the border is left out."""
    x = torch.randn(8, width, 1, 1).expand(-1, -1, 16, 16)
    y = module(x)[:, :, 8:-8, 8:-8]
    spectrum = torch.fft.fft2(y).abs().square().mean((0, 1))
    size = spectrum.shape[0]
    grid = spectrum[:: size // scale, :: size // scale].sum() - spectrum[0, 0]
    return float(grid / spectrum.sum())


@torch.no_grad()
def shift_error(down: nn.Module, up: nn.Module, x: torch.Tensor) -> float:
    """How much a shift of the picture by one pixel changes more than its place."""
    y = up(down(x))
    moved = up(down(x.roll(1, -1))).roll(-1, -1)
    return float((moved - y)[..., 8:-8].abs().mean() / y[..., 8:-8].std())


class Autoencoder(nn.Module):
    """Down by four, a narrow map, up by four."""

    def __init__(self, down: str, up: str, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.SiLU(),
            DOWNSAMPLERS[down](width),
            nn.SiLU(),
            DOWNSAMPLERS[down](width, 8),
            UPSAMPLERS[up](8, width),
            nn.SiLU(),
            UPSAMPLERS[up](width),
            nn.SiLU(),
            nn.Conv2d(width, 3, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def train(down: str, up: str, pictures: torch.Tensor, steps: int, width: int) -> Autoencoder:
    """An autoencoder after `steps` steps of eight pictures."""
    torch.manual_seed(0)
    network = Autoencoder(down, up, width)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    for _ in range(steps):
        batch = pictures[torch.randint(len(pictures), (8,))]
        loss = (network(batch) - batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network


@torch.no_grad()
def psnr(network: nn.Module, held: torch.Tensor) -> float:
    """Decibel, of pictures in [−1, 1]."""
    return float(10 * torch.log10(4 / (network(held).clamp(-1, 1) - held).square().mean()))


@torch.no_grad()
def milliseconds(module: nn.Module, width: int) -> float:
    """Of a forward pass over one 64 × 64 map, channels last."""
    module = module.to(memory_format=torch.channels_last)
    x = torch.randn(1, width, 64, 64).to(memory_format=torch.channels_last)
    return 1e3 * seconds(lambda: module(x))


def measure(name: str, way: str, pictures: torch.Tensor, steps: int, width: int) -> tuple[str, ...]:
    """One line of the table."""
    held, trained_on = pictures[:32], pictures[32:]
    network = train(*(("strided", name) if way == "up" else (name, "bilinear")), trained_on, steps, width)
    torch.manual_seed(0)
    module = (UPSAMPLERS if way == "up" else DOWNSAMPLERS)[name](width)
    return (
        name,
        f"{checkerboard(module, width):.1e}" if way == "up" else "",
        f"{shift_error(network.layers[:5], network.layers[5:], held):.3f}",
        f"{psnr(network, held):.2f}",
        f"{cost(module, (width, 64, 64)).macs / 1e6:.1f}",
        f"{milliseconds(module, width):.2f}",
    )


def run(steps: int = 200, width: int = 32, size: int = 64) -> None:
    """Prints a table for upsamplers, and one for downsamplers."""
    folder = os.environ.get("CASELLI_PICTURES")
    pictures = crops(Path(folder) if folder else None, 256, size, torch.Generator().manual_seed(0))
    for way, room in (("up", UPSAMPLERS), ("down", DOWNSAMPLERS)):
        lines = [measure(name, way, pictures, steps, width) for name in room]
        table((f"{way}sampler", "checkerboard", "shift", "PSNR", "MMACs", "ms"), lines)


if __name__ == "__main__":
    run()
