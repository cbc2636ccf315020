"""The training step of a tokenizer, ours and diffusers' VQModel: the same weights, pictures and losses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from bench.measure import in_turn, matrix_rate, table
from caselli.engine import machine
from caselli.engine.machine import Machine

SIZE, BATCH = 64, 16
PEER = {
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": (64, 64, 128),
    "layers_per_block": 1,
    "latent_channels": 64,
    "num_vq_embeddings": 1024,
    "norm_num_groups": 32,
}
"""Factor 4, one block a level."""

COLUMNS = ("M weights", "first loss", "mean of the last 10", "ms a step", "times as fast")

Step = Callable[[], torch.Tensor]
"""One training step; returns its loss."""


def run(steps: int = 20, repeats: int = 5) -> None:
    """Prints the losses of the same first steps, then the times; two threads, so that machines compare."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    print(f"two threads; float32 matrix product {matrix_rate() / 1e9:.0f} GF/s; {machine().reason}")
    makers = variants()
    parameters = {name: sum(p.numel() for p in made[0].parameters()) for name, made in makers.items()}
    curves = {name: losses(*copy.deepcopy(made), steps) for name, made in makers.items()}
    times = in_turn([training(*made) for made in makers.values()], repeats)
    there = times[0]
    lines = [
        (
            name,
            f"{parameters[name] / 1e6:.2f}",
            *(f"{sum(part) / len(part):.4f}" for part in (curves[name][:1], curves[name][-10:])),
            f"{1e3 * seconds:.0f}",
            f"{there / seconds:.2f}",
        )
        for (name, seconds) in zip(makers, times, strict=True)
    ]
    table((f"{SIZE}×{SIZE}, f4, batch {BATCH}", *COLUMNS), lines)


def variants() -> dict[str, tuple[torch.nn.Module, Callable[..., Any], Machine]]:
    """Name → (module, its reconstruction and its quantizer's loss, precision); all with the same weights."""
    try:
        from diffusers import VQModel
    except ImportError as error:
        raise SystemExit("pip install 'caselli[bench]' for the peer") from error
    from caselli.interop.diffusers import Diffusers
    from caselli.interop.importing import filled
    from caselli.interop.layout import Hints

    peer = VQModel(**PEER).train()
    converted = Diffusers.convert([peer.state_dict()], Hints(32))
    ours = filled(converted.config, converted.weights).train()
    single, half = (Machine("cpu", precision, "") for precision in ("float32", "bfloat16"))
    return {
        "diffusers, float32 (its default)": (copy.deepcopy(peer), theirs_forward, single),
        "diffusers, bfloat16 autocast": (peer, theirs_forward, half),
        "caselli, float32": (copy.deepcopy(ours), ours_forward, single),
        "caselli, bfloat16 autocast": (ours, ours_forward, half),
    }


def theirs_forward(module: Any, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    out = module(pictures)
    return out.sample, out.commit_loss


def ours_forward(module: Any, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    reconstruction, quantized = module(pictures)
    return reconstruction, quantized.loss


def training(module: torch.nn.Module, forward: Callable[..., Any], precision: Machine) -> Step:
    """Forward, backward and AdamW on the next pictures."""
    optimiser = torch.optim.AdamW(module.parameters(), lr=3e-4, foreach=True)
    source = torch.Generator().manual_seed(0)

    def step() -> torch.Tensor:
        x = pictures(source)
        with precision.autocast():
            reconstruction, extra = forward(module, x)
        loss = F.mse_loss(reconstruction.float(), x) + extra
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def losses(
    module: torch.nn.Module, forward: Callable[..., Any], precision: Machine, steps: int
) -> list[float]:
    """The first losses."""
    step = training(module, forward, precision)
    return [step().item() for _ in range(steps)]


def pictures(source: torch.Generator) -> torch.Tensor:
    """Smooth colour fields with edges, in [−1, 1]."""
    coarse = torch.randn(BATCH, 3, 8, 8, generator=source)
    smooth = F.interpolate(coarse, (SIZE, SIZE), mode="bicubic")
    return torch.where(smooth > 0.8, torch.ones(()), smooth.tanh())
