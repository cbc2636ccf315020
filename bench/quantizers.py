"""Nearest code and the training step of vector quantization, ours and vector-quantize-pytorch."""

from __future__ import annotations

import torch

from bench.measure import in_turn, matrix_rate, peak_memory, table
from caselli.ops import nearest_code
from caselli.quantizer import VQ

SIZES = ((16384, 64, 1024), (1024, 256, 16384), (16384, 8, 16384))
"""n latents, width D, K codes."""


def run(sizes: tuple[tuple[int, int, int], ...] = SIZES, repeats: int = 3) -> None:
    """Prints the tables; two threads, so that machines compare."""
    torch.set_num_threads(2)
    torch.manual_seed(0)
    rate = matrix_rate()
    print(f"two threads; float32 matrix product {rate / 1e9:.0f} GF/s")
    searches = [search(*size, rate, repeats) for size in sizes]
    table(("nearest code n, D, K", "ms", "share of the matrix rate", "peak MB"), searches)
    steps = [step(*size, repeats) for size in sizes]
    table(("training step n, D, K", "ours ms", "peer ms", "ratio", "ours MB", "peer MB"), steps)


def search(n: int, width: int, size: int, rate: float, repeats: int) -> tuple[str, ...]:
    """One line: the search alone."""
    latents, codebook = torch.randn(n, width), torch.randn(size, width)

    def find() -> None:
        nearest_code(latents, codebook)

    (ours,) = in_turn([find], repeats)
    share = 2 * n * width * size / ours / rate
    return f"{n}, {width}, {size}", f"{1e3 * ours:.1f}", f"{share:.0%}", f"{peak_memory(find) / 1e6:.0f}"


def step(n: int, width: int, size: int, repeats: int) -> tuple[str, ...]:
    """One line: forward, backward and moving averages of both."""
    ours, peers = ours_step(n, width, size), peer_step(n, width, size)
    (here, there), label = in_turn([ours, peers], repeats), f"{n}, {width}, {size}"
    memory = [f"{peak_memory(function) / 1e6:.0f}" for function in (ours, peers)]
    return label, f"{1e3 * here:.1f}", f"{1e3 * there:.1f}", f"{there / here:.1f}", *memory


def ours_step(n: int, width: int, size: int):
    quantizer = VQ(width, codebook_size=size, kmeans_steps=0)
    latents = torch.randn(1, width, n, requires_grad=True)

    def run_step() -> None:
        quantized = quantizer(latents)
        (quantized.latents.sum() + quantized.loss).backward()

    return run_step


def peer_step(n: int, width: int, size: int):
    try:
        from vector_quantize_pytorch import VectorQuantize
    except ImportError as error:
        raise SystemExit("pip install 'caselli[bench]' for the peer") from error
    quantizer = VectorQuantize(
        width, codebook_size=size, decay=0.99, rotation_trick=False, threshold_ema_dead_code=0
    )
    latents = torch.randn(1, n, width, requires_grad=True)

    def run_step() -> None:
        quantized, _, loss = quantizer(latents)
        (quantized.sum() + loss.sum()).backward()

    return run_step
