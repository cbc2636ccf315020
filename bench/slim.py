"""Smaller priors against whole ones: bytes and codes per second; integer products against torchao."""

from __future__ import annotations

import contextlib
import copy
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from bench.measure import in_turn, table
from caselli.prior import Alphabet, Autoregressive, PriorConfig
from caselli.sampling import best_engine, sample
from caselli.slim import quantise, remove_units, remove_weights
from caselli.weights import IntegerLinear, save_weights

SIZES = {
    "3 M, as the demo's": (192, 4, 6, 1024, 16),
    "15 M": (384, 8, 6, 1025, 256),
    "58 M": (768, 8, 12, 1025, 64),
}
"""Width, layers, heads, codes, length."""
PRODUCTS = ((2048, 192, 768), (2048, 768, 768), (128, 1024, 4096), (1, 1024, 4096))
"""Rows, inputs, outputs."""


def run() -> None:
    for name, shape in SIZES.items():
        print(f"\n{name}: width {shape[0]}, {shape[1]} layers, {shape[4]} codes a sequence, batch 1")
        _priors(*shape)
    print("\nlinear layers, microseconds")
    _products()


def _priors(width: int, depth: int, heads: int, codes: int, length: int) -> None:
    config = PriorConfig(width=width, depth=depth, mixer_options={"heads": heads})
    whole = Autoregressive(config, Alphabet((codes,), (0,) * length)).eval()
    sequence = torch.randint(codes, (8, length))
    priors = {"float32": whole} | {name: _smaller(whole, way, sequence) for name, way in WAYS.items()}
    engines = [best_engine(prior)[0] for prior in priors.values()]
    draws: list[Callable[[], object]] = [lambda engine=e: sample(engine, None, [0]) for e in engines]
    times, lines = in_turn(draws), []
    for (name, prior), engine, time in zip(priors.items(), engines, times, strict=True):
        size = _bytes(prior)
        ratios = f"{size / _bytes(whole):.3f}", f"{length / time:,.0f}", f"{times[0] / time:.2f}"
        lines.append((name, f"{size / 1e6:.2f}", *ratios, engine.precision))
    table(("", "MB", "of float32", "codes/s", "× float32", "weights as read"), lines)


def _smaller(
    whole: Autoregressive, way: Callable[[Autoregressive, list], object], sequence
) -> Autoregressive:
    prior = copy.deepcopy(whole)
    way(prior, [lambda: -prior.log_prob(sequence, None).mean()])
    return prior.eval()


def _halved(*structures: str) -> Callable[[Autoregressive, list], None]:
    def way(prior: Autoregressive, losses: list) -> None:
        for structure in structures:
            remove_units(prior, structure, 0.5, losses)

    return way


WAYS: dict[str, Callable[[Autoregressive, list], object]] = {
    "int8": lambda prior, _: quantise(prior, "int8"),
    "int4": lambda prior, _: quantise(prior, "int4"),
    "half of the heads": _halved("heads"),
    "half of the channels": _halved("channels"),
    "half of both": _halved("heads", "channels"),
    "half of both, int8": lambda prior, losses: (
        _halved("heads", "channels")(prior, losses),
        quantise(prior, "int8"),
    ),
    "half of the weights": lambda prior, _: remove_weights(prior, "weights", 0.5),
    "2:4": lambda prior, _: remove_weights(prior, "2:4", 0.5),
}


def _bytes(prior: Autoregressive) -> int:
    with tempfile.TemporaryDirectory() as folder:
        save_weights(Path(folder, "prior"), prior, {})
        return Path(folder, "prior.safetensors").stat().st_size


@torch.no_grad()
def _products() -> None:
    lines, names = [], ["float32", "bfloat16", "ours"]
    for rows, inputs, outputs in PRODUCTS:
        layer, x = nn.Linear(inputs, outputs, bias=False), torch.randn(rows, inputs)
        half = copy.deepcopy(layer).bfloat16()
        pairs = [(layer, x), (half, x.bfloat16()), (IntegerLinear(layer), x)]
        peers = [(module, x) for module in _torchao(layer)]
        names = names[:3] + ["torchao"] * len(peers)
        times = in_turn([lambda m=m, given=given: m(given) for m, given in pairs + peers], 20)
        lines.append((f"{rows} × {inputs} → {outputs}", *(f"{1e6 * time:,.0f}" for time in times)))
    table(("", *names), lines)


def _torchao(layer: nn.Linear) -> list[nn.Module]:
    """The layer through torchao, where it is installed."""
    logging.disable(logging.WARNING)
    try:
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_
    except ImportError:
        return []
    finally:
        logging.disable(logging.NOTSET)
    module = nn.Sequential(copy.deepcopy(layer))
    with contextlib.suppress(NotImplementedError):
        quantize_(module, Int8DynamicActivationInt8WeightConfig())
        return [module]
    return []
