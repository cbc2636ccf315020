"""`caselli compare reconstructions`: several runs' tokenizers on the same pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from caselli.compare.base import Comparison, RunSettings, kept
from caselli.compare.pictures import pictures_for, pixels, runs_by_name, some
from caselli.data import Pictures
from caselli.engine import on_device
from caselli.evaluate import (
    CodebookUse,
    installed_judge,
    judge,
    original_features,
    psnr,
    reconstruction_distances,
    reconstructions,
    slope,
    ssim,
)
from caselli.features import VGG16, FeatureNetwork, Inception
from caselli.figures import figure
from caselli.model import Model, load
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class Settings(RunSettings):
    """Pictures, and the network whose features judge."""

    split: str = "held_out"
    """train, held_out or all."""
    shown: int = 12
    """Pictures in a row."""
    inception: str | None = None
    """File of Inception's weights; by default an installed judge that taught no run judges, else an untrained
    VGG-16."""


@dataclasses.dataclass(frozen=True)
class Row:
    """Figures of one tokenizer, comparable at equal pictures and features alone."""

    run: str = figure("run")
    frechet: float = figure("Fréchet distance", ".3g")
    kernel: float = figure("kernel distance", ".3g")
    sharpness: float = figure("sharpness", ".2f")
    """Mean slope of the reconstructions over that of the originals: under 1 where they are blurred."""
    psnr: float = figure("PSNR (dB)", ".2f")
    ssim: float = figure("SSIM", ".3f")
    codebook_use: float = figure("codes in use", ".1%")
    bits: float = figure("bits", ",.0f")
    """Bits of a picture's codes."""
    shown: Float[Tensor, "B C H W"] | None = kept()


class Reconstructions(Comparison):
    """Several runs' reconstructions of the same pictures."""

    Settings, Row = Settings, Row

    def subjects(self) -> dict[str, Any]:
        return self.models

    @cached_property
    def models(self) -> dict[str, Model]:
        """The runs by name."""
        return {name: on_device(load(folder)) for name, folder in runs_by_name(self.settings.runs).items()}

    @cached_property
    def pictures(self) -> Pictures:
        """The originals."""
        return pictures_for(next(iter(self.models.values())), self.settings.source, self.settings.split)

    @cached_property
    def network(self) -> FeatureNetwork:
        """The network whose features judge."""
        if self.settings.inception:
            return Inception.load(self.settings.inception)
        teachers = {teacher for model in self.models.values() for teacher in model.teachers()}
        name = installed_judge(teachers)
        return VGG16.untrained() if name is None else judge(name, self.pictures.size)

    def rows(self, subjects: Mapping[str, Model], folder: Path) -> Iterator[Row]:
        x, real = self.original(), original_features(self.pictures, self.network)
        for name, model in subjects.items():
            found = reconstruction_distances(model, self.pictures, self.network, real, self.pictures.name)
            shown = model.decode(model.encode(x)).cpu()
            bits = model.tokenizer.report((model.size, model.size)).bits
            yield Row(name, found.frechet, found.kernel, *_means(model, self.pictures), bits, shown)

    def notes(self, rows: Sequence[Row]) -> str:
        reference = f"{self.pictures.name}, {self.settings.split.replace('_', ' ')}"
        return (
            f"Features: {self.network.features_name}. Reference: the {len(self.pictures)} originals "
            f"({reference})."
        )

    def original(self) -> Float[Tensor, "B C H W"]:
        return pixels(some(self.pictures, self.settings.shown))


def _means(model: Model, pictures: Pictures) -> tuple[float, float, float, float]:
    """Sharpness, PSNR and SSIM of all pictures, and the share of codes in use."""
    sums, use = torch.zeros(4, dtype=torch.float64), CodebookUse(model.tokenizer.quantizer.sizes)
    for _, x, codes, y in reconstructions(model, pictures):
        parts = (slope(y).sum(), slope(x).sum(), psnr(y, x).sum(), ssim(y, x).sum())
        sums += torch.stack([part.double().cpu() for part in parts])
        use.add(codes)
    made, real, *qualities = sums.tolist()
    share = use.together().use if use.sizes else 0.0
    return made / real, *(total / len(pictures) for total in qualities), share
