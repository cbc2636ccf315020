"""Cost and quality of runs: several on the same pictures, their speeds measured in turn."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import nn

from caselli.data import Pictures
from caselli.evaluate.model import evaluate_model
from caselli.figures import figure
from caselli.model import Model
from caselli.sampling import best_engine, sample


@dataclasses.dataclass(frozen=True)
class RunFigures:
    """Cost and quality of a run."""

    bytes: int = figure("bytes of weights", ",.0f")
    """Size of both files of weights."""
    parameters: int = figure("parameters", ",.0f")
    """Parameters of tokenizer and prior."""
    prior_bits_per_dimension: float | None = figure("bits per dimension, codes", ".5f")
    """−log₂ p(codes) over the picture's numbers, on held-out pictures."""
    bits_per_dimension: float | None = figure("bits per dimension, in all", ".4f")
    """Bits of codes and residual together over the picture's numbers."""
    psnr: float = figure("PSNR", ".2f", "dB")
    """Quality of the reconstructions, dB."""
    tokens_per_second: float | None = figure("codes per second, batch 1", ",.0f", timed=True)
    """Sampling at batch 1."""
    pictures_per_second: float = figure("pictures decoded per second", ",.0f", timed=True)
    """Decoding, 16 at a time."""


def run_figures(
    models: Mapping[str, Model], folders: Mapping[str, Path], held_out: Pictures
) -> Iterator[tuple[str, RunFigures]]:
    """Name and figures of several runs on the same held-out pictures, speeds in turn.

    Arguments:
        models, folders: name of a run → the run; those without a prior have no pace.
        held_out: pictures.
    """
    drawing = paces(list(models.values())) if all(m.prior is not None for m in models.values()) else []
    decoding = decoding_paces(list(models.values()))
    for number, (name, model) in enumerate(models.items()):
        found = evaluate_model(model, held_out)
        yield (
            name,
            RunFigures(
                bytes=sum(path.stat().st_size for path in folders[name].glob("*.safetensors")),
                parameters=sum(p.numel() for p in _parameters(model)),
                prior_bits_per_dimension=found.prior_bits_per_dimension,
                bits_per_dimension=found.bits_per_dimension,
                psnr=found.psnr,
                tokens_per_second=drawing[number] if drawing else None,
                pictures_per_second=decoding[number],
            ),
        )


def paces(models: list[Model], rounds: int = 20) -> list[float]:
    """Codes a second of each model, one sequence at a time, the best of some rounds in turn."""
    engines = [best_engine(model.prior)[0] for model in models]
    best = [float("inf")] * len(models)
    for _ in range(rounds):
        for i, engine in enumerate(engines):
            begin = _now(models[i])
            sample(engine, None, [0])
            best[i] = min(best[i], _now(models[i]) - begin)
    return [model.grid.length / seconds for model, seconds in zip(models, best, strict=True)]


@torch.no_grad()
def decoding_paces(models: list[Model], batch: int = 16, rounds: int = 5) -> list[float]:
    """Pictures a second that each model decodes, in turn."""
    best = [float("inf")] * len(models)
    for _ in range(rounds):
        for i, model in enumerate(models):
            latents = torch.zeros(batch, *_latent_shape(model), device=model.device)
            begin = _now(model)
            model.tokenizer.decoder(latents)
            best[i] = min(best[i], _now(model) - begin)
    return [batch / seconds for seconds in best]


def _now(model: Model) -> float:
    """Seconds on a clock, once all that was asked of the model's device is done."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()


def _latent_shape(model: Model) -> tuple[int, ...]:
    config, size = model.tokenizer.config, (model.size, model.size)
    return (config.latent_width, *model.tokenizer.architecture.latent_shape(config, size))


def _parameters(model: Model) -> list[nn.Parameter]:
    return [*model.tokenizer.parameters(), *(model.prior.parameters() if model.prior is not None else ())]
