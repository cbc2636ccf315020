"""`caselli compare segmenters`: a U-Net with each resampler, and FCN-32s, 16s and 8s beside it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from caselli.anatomy import cost
from caselli.compare.base import Comparison, TrainingSettings, free, kept
from caselli.compare.resamplers import check_steps, resamplers
from caselli.compare.resampling import training
from caselli.data import Batches, Segmented, open_segmented, spread
from caselli.engine import fit, machine
from caselli.figures import figure
from caselli.report import masks_grid
from caselli.run import evaluate_segmenter
from caselli.segmentation import SegmentationTask, Segmenter, SegmenterConfig, build_segmenter
from caselli.shapes import Int, Tensor

BATCH, SHOWN = 16, 8
"""Pictures in a step, and held-out ones that are drawn, at most."""


@dataclasses.dataclass(frozen=True)
class Settings(TrainingSettings):
    """Pictures with masks, and the training of every network."""

    source: str
    """Pictures with masks: glyphs, or a folder."""
    resamplers: tuple[str, ...] = free(())
    """Names with commas between; by default all, and the FCNs."""
    steps: int = 1200
    """Training steps of each."""
    width: int = 8
    """Channels of the networks at full size."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One network after its training."""

    network: str = figure("network")
    mean_iou: float = figure("mean IoU", ".1%")
    accuracy: float = figure("pixels right", ".2%")
    macs: float = figure("MACs (M)", ".1f")
    """Million multiply-accumulates of the whole network for one picture."""
    parameters: int = figure("parameters", ",")
    seconds: float = figure("training (s)", ".0f", timed=True)
    shown: Int[Tensor, "B H W"] | None = kept()


class Segmenters(Comparison):
    """A small U-Net with each resampler, all else equal, and FCNs: intersection over union."""

    Settings, Row = Settings, Row

    def subjects(self) -> dict[str, Any]:
        check_steps(self.settings.steps)
        return dict(networks(self.settings.resamplers, self.settings.width))

    @cached_property
    def labelled(self) -> Segmented:
        """Both parts of the set."""
        return open_segmented(self.settings.source, size=self.settings.size)

    def rows(self, subjects: Mapping[str, Any], folder: Path) -> Iterator[Row]:
        labelled, shown = self.labelled, self._shown()
        channels, size, classes = labelled.pictures.channels, labelled.pictures.size, labelled.classes
        for name, config in subjects.items():
            config = dataclasses.replace(config, channels=channels, classes=len(classes))
            start = time.perf_counter()
            network = self._trained(config)
            seconds = time.perf_counter() - start
            segmenter = Segmenter(network, config, size, classes)
            found = evaluate_segmenter(segmenter, labelled.split("held_out"))
            counted, masks = cost(network, (channels, size, size)), segmenter.segment(shown.pictures)
            figures = (found["mean_iou"], found["accuracy"], counted.macs / 1e6, counted.parameters)
            yield Row(name, *figures, seconds, masks)

    def _trained(self, config: SegmenterConfig) -> torch.nn.Module:
        """A network trained from the same start, in the same order and at the same rate as every other."""
        seed = self.settings.seed
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            task = SegmentationTask(build_segmenter(config), config.classes)
        batches = Batches(self.labelled.split("train"), BATCH, seed=seed)
        where = machine("auto", "cpu")
        return fit(task, batches, training(self.settings.steps), machine=where, seed=seed).network

    def _shown(self) -> Any:
        held_out = self.labelled.split("held_out")
        return held_out.batch(spread(len(held_out), SHOWN))

    def sheet(self, rows: Sequence[Row]) -> Any:
        shown = self._shown()
        return masks_grid(shown.pictures, shown.masks, {row.network: row.shown for row in rows})


def networks(names: Sequence[str], width: int) -> Iterator[tuple[str, SegmenterConfig]]:
    """A U-Net with each resampler, then each FCN; only the former where resamplers are named."""
    for way, name in resamplers(names):
        yield f"U-Net, {name} ({way})", SegmenterConfig(width=width, **{f"{way}sampler": name})
    for stride in () if names else (32, 16, 8):
        yield f"FCN-{stride}s", SegmenterConfig(f"fcn{stride}s", width=width)
