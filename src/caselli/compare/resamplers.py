"""`caselli compare resamplers`: each upsampler and downsampler in a tiny autoencoder, all else equal."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from caselli import data
from caselli.anatomy import cost
from caselli.compare.base import Comparison, TrainingSettings, free, kept
from caselli.compare.pictures import pixels, some
from caselli.compare.resampling import (
    WEIGHTLESS,
    fresh_checkerboard,
    learnt_checkerboard,
    milliseconds,
    shift_consistency,
    trained_autoencoder,
    weightless_psnr,
)
from caselli.data import Pictures
from caselli.errors import UserError, lookup
from caselli.evaluate import psnr
from caselli.figures import figure
from caselli.layer import DOWNSAMPLERS, UPSAMPLERS
from caselli.shapes import Float, Tensor

TABLES = {"up": UPSAMPLERS, "down": DOWNSAMPLERS}
TRAINED, MEASURED, SHOWN = 4096, 128, 8
"""Pictures trained on, held-out ones that are measured, and those that are drawn, at most."""


@dataclasses.dataclass(frozen=True)
class Settings(TrainingSettings):
    """Pictures, and the training of every autoencoder."""

    resamplers: tuple[str, ...] = free(())
    """Names with commas between; by default all."""
    steps: int = 400
    """Training steps of each."""
    scale: int = 2
    """Scale of the resamplers, which divides the size of the pictures."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One resampler in the tiny autoencoder."""

    resampler: str = figure("resampler")
    fresh: float | None = figure("checkerboard at the start", ".2%")
    """Share of the pattern before training, from 0 to 1; upsamplers only."""
    learnt: float = figure("checkerboard learnt (grey levels)", ".2f")
    """Pattern after training, in grey levels of 255."""
    shift_consistency: float = figure("shift consistency (dB)", ".1f")
    psnr: float = figure("PSNR (dB)", ".2f")
    """Quality of reconstructed held-out pictures."""
    weightless: float | None = figure("PSNR without weights (dB)", ".2f")
    """Quality of block means enlarged by the method alone, where it has no weights."""
    macs: float = figure("MACs (M)", ".2f")
    """Million multiply-accumulates of the resampler alone for a picture, on 16 channels."""
    parameters: int = figure("parameters", ",")
    milliseconds: float = figure("ms", ".1f", timed=True)
    """Time of its forward pass for sixteen pictures, the median of seven."""
    shown: Float[Tensor, "B C H W"] | None = kept()


class Resamplers(Comparison):
    """A tiny autoencoder with each resampler, up or down: checkerboards, aliasing, reconstruction, cost."""

    Settings, Row = Settings, Row
    gone = {
        "--task": "`caselli compare segmenters SOURCE` has the resamplers in a U-Net",
        "--width": "`caselli compare segmenters SOURCE --width N` has the resamplers in a U-Net",
    }

    def subjects(self) -> dict[str, Any]:
        check_steps(self.settings.steps)
        return {f"{name} ({way})": (way, name) for way, name in resamplers(self.settings.resamplers)}

    @cached_property
    def pictures(self) -> Pictures:
        """Both parts of the set."""
        scale = self.settings.scale
        pictures = data.open(self.settings.source, size=self.settings.size, split="all")
        if pictures.size % scale or pictures.size < 32:
            raise UserError(
                f"pictures of {pictures.size} pixels were given",
                f"a multiple of {scale} from 32 on was expected",
            )
        return pictures

    def rows(self, subjects: Mapping[str, Any], folder: Path) -> Iterator[Row]:
        scale, asked, shown = self.settings.scale, self.settings, self.original()
        train = pixels(some(self.pictures.split("train"), TRAINED))
        held_out = pixels(some(self.pictures.split("held_out"), MEASURED))
        for label, (way, name) in subjects.items():
            network = trained_autoencoder(
                train, **{way: name}, steps=asked.steps, scale=scale, seed=asked.seed
            )
            module, shape = network.resampler(way, held_out.shape[2:])
            counted, weightless = cost(module, shape), way == "up" and name in WEIGHTLESS
            with torch.no_grad():
                quality = psnr(network(held_out).clamp(-1, 1), held_out).mean().item()
                made = network(shown).clamp(-1, 1)
            yield Row(
                resampler=label,
                fresh=fresh_checkerboard(name, scale) if way == "up" else None,
                learnt=learnt_checkerboard(network, held_out, scale),
                shift_consistency=shift_consistency(network, held_out),
                psnr=quality,
                weightless=weightless_psnr(name, held_out, scale) if weightless else None,
                macs=counted.macs / 1e6,
                parameters=counted.parameters,
                milliseconds=milliseconds(module, (16, *shape)),
                shown=made,
            )

    def original(self) -> Float[Tensor, "B C H W"]:
        return pixels(some(self.pictures.split("held_out"), SHOWN))


def resamplers(names: Sequence[str]) -> list[tuple[str, str]]:
    """(way, name) of every resampler, or of those named.

    Errors: `UnknownName` for a name in neither table.

    Example:
        >>> resamplers(["bilinear", "blur"])
        [('up', 'bilinear'), ('down', 'blur')]
    """
    for name in names:
        lookup({**UPSAMPLERS, **DOWNSAMPLERS}, "resampler", name)
    return [(way, name) for way, table in TABLES.items() for name in table if not names or name in names]


def check_steps(steps: int) -> None:
    """Raises `UserError` for fewer steps than a learning rate schedule needs."""
    if steps < 2:
        raise UserError(f"steps {steps} were given", "at least 2 were expected")
