"""The codec: pictures a second both ways, the price of its arithmetic, and the same bits everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import zlib

import torch

from bench.measure import table
from caselli.codec import Decoders, Encoders, Pixels, ResidualModel, Sequences
from caselli.prior import Alphabet, Autoregressive, PriorConfig
from caselli.sampling import best_engine, sample

SLOTS, CODES, PICTURES = 16, 1024, 256
MIXERS = ("attention", "local", "linear", "mamba", "mamba2", "rwkv7")
ENVIRONMENTS = {
    "as it is, one thread": {"OMP_NUM_THREADS": "1"},
    "two threads": {"OMP_NUM_THREADS": "2"},
    "PyTorch without vectors": {"ATEN_CPU_CAPABILITY": "default"},
    "PyTorch with AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "MKL with AVX2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "MKL with SSE4.2": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
}


def run() -> None:
    """Prints the pace of sequences and of pixels, then check sums of streams under other circumstances."""
    torch.set_num_threads(1)  # small operations: a second thread waits more than it works
    prior = build("attention")
    codes = torch.randint(CODES, (PICTURES, SLOTS))
    lines = [_both_ways(f"batch {batch}", Sequences(prior, batch), codes) for batch in (1, 16, 256)]
    engine, _ = best_engine(prior)
    sample(engine, None, list(range(256)))
    begin = time.perf_counter()
    sample(engine, None, list(range(256)))
    lines.append(("sampling in float32, " + engine.name, "", f"{256 / (time.perf_counter() - begin):.0f}"))
    print(f"{SLOTS} codes of {CODES}, attention, width 192, 4 layers; one thread")
    table(("pictures a second", "encoding", "decoding"), lines)
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (4, 3, 64, 64))
    table(("pictures of 64 × 64 a second", "encoding", "decoding"), [_pixels(pixels)])
    print("\nthe same bits: check sums of streams")
    with tempfile.TemporaryDirectory() as folder:
        _keep(folder)
        found = [(name, *_elsewhere(changes, folder)) for name, changes in ENVIRONMENTS.items()]
    table(("circumstances", *MIXERS, "pixels"), found)
    print("all alike" if len({line[1:] for line in found}) == 1 else "THEY DIFFER")


def build(mixer: str) -> Autoregressive:
    """An untrained prior as large as the demo's."""
    torch.manual_seed(0)
    prior = Autoregressive(PriorConfig(mixer=mixer, width=192, depth=4), Alphabet((CODES,), (0,) * SLOTS))
    with torch.no_grad():
        prior.head.weight.mul_(8)
    return prior.eval()


def _both_ways(name: str, sequences: Sequences, codes: torch.Tensor) -> tuple[str, str, str]:
    count = min(len(codes), 4 * sequences.batch)
    streams = torch.zeros(count, dtype=torch.int64)
    sequences.encode(codes[:2], Encoders(1), streams[:2])  # grids of the weights are made once
    encoders, begin = Encoders(1), time.perf_counter()
    sequences.encode(codes[:count], encoders, streams)
    middle = time.perf_counter()
    assert torch.equal(sequences.decode(Decoders(encoders.bytes()), streams), codes[:count])
    return name, f"{count / (middle - begin):.0f}", f"{count / (time.perf_counter() - middle):.0f}"


def _pixels(pixels: torch.Tensor) -> tuple[str, str, str]:
    network, encoders, count = Pixels(ResidualModel()), Encoders(1), len(pixels)
    streams, begin = torch.zeros(count, dtype=torch.int64), time.perf_counter()
    network.encode(pixels, pixels, encoders, streams)
    middle = time.perf_counter()
    assert torch.equal(network.decode(pixels, Decoders(encoders.bytes()), streams), pixels)
    end = time.perf_counter()
    return f"{count} at once", f"{count / (middle - begin):.1f}", f"{count / (end - middle):.1f}"


def _elsewhere(changes: dict[str, str], folder: str) -> tuple[str, ...]:
    environment = {**os.environ, **changes}
    words = [sys.executable, "-c", f"from bench.codec import sums; print(*sums({folder!r}))"]
    found = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    return tuple(found.stdout.split())


def _networks() -> dict[str, torch.nn.Module]:
    return {**{mixer: build(mixer) for mixer in MIXERS}, "pixels": ResidualModel()}


def _keep(folder: str) -> None:
    """The weights: what draws them at random is not the same everywhere."""
    for name, network in _networks().items():
        torch.save(network.state_dict(), os.path.join(folder, name))


def sums(folder: str) -> list[str]:
    """Check sums of what each mixer and the residual model make of the same codes and pixels."""
    found, random = [], torch.Generator().manual_seed(1)
    codes = torch.randint(CODES, (33, SLOTS), generator=random)
    pixels = torch.randint(0, 256, (1, 3, 24, 24), generator=random)
    for name, network in _networks().items():
        network.load_state_dict(torch.load(os.path.join(folder, name)))
        encoders = Encoders(1)
        if name == "pixels":
            Pixels(network).encode(pixels, pixels, encoders, torch.zeros(1, dtype=torch.int64))
        else:
            Sequences(network, 11).encode(codes, encoders, torch.zeros(len(codes), dtype=torch.int64))
        found.append(f"{zlib.crc32(encoders.bytes()[0]):08x}")
    return found
