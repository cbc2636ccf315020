"""Runs of dense prediction: pictures with masks become a network that gives every pixel a class."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch

from caselli.data import Pictures, Segmented, open_segmented
from caselli.engine import TrainingConfig
from caselli.errors import UserError
from caselli.report import masks_grid, save_png
from caselli.run.config import DataConfig, RunConfig
from caselli.run.folder import RunFolder
from caselli.run.kind import Kind, Stage, refuse_lpips
from caselli.run.pictures import Data, batches_of, shows
from caselli.segmentation import (
    SegmentationTask,
    Segmenter,
    SegmenterConfig,
    build_segmenter,
    confusion,
    load_segmenter,
    save_segmenter,
    score,
)

SHOWN = 10
"""Held-out pictures drawn beside their masks."""


@dataclasses.dataclass(frozen=True)
class SegmentationRunConfig(RunConfig):
    """The configuration of a network of dense prediction."""

    segmenter: SegmenterConfig = dataclasses.field(default_factory=SegmenterConfig)
    """The network."""
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    """Budget and optimiser."""


def unet(pictures: Pictures) -> SegmentationRunConfig:
    """U-Net with three halvings, 0.6 M parameters; five minutes on two cores for pictures of 64 pixels."""
    return SegmentationRunConfig(
        recipe="unet",
        data=DataConfig(shift=max(1, pictures.size // 32)),
        segmenter=SegmenterConfig(),
        training=TrainingConfig(steps=1200, batch=32, learning_rate=3e-3, ema=0.99),
    )


def fcn(pictures: Pictures) -> SegmentationRunConfig:
    """FCN-8s on ten small convolutions, 0.9 M parameters; `--segmenter.architecture fcn16s` for another."""
    return dataclasses.replace(unet(pictures), recipe="fcn", segmenter=SegmenterConfig("fcn8s", width=16))


SEGMENTATION_RECIPES: dict[str, Callable[[Pictures], SegmentationRunConfig]] = {"unet": unet, "fcn": fcn}
"""The recipes of dense prediction by name."""


class SegmenterStage(Stage):
    """The one stage of dense prediction."""

    product = "segmenter"
    results = "segmentation"
    figures = SegmentationTask.figures
    validated = None

    def task(self) -> SegmentationTask:
        config = self.run.config.segmenter
        with self.run.seeded():
            task = SegmentationTask(build_segmenter(config), config.classes)
        self.announce(task, f"{config.architecture}, ")
        return task

    def save(self, task: SegmentationTask) -> None:
        run, config = self.run, self.run.config.segmenter
        save_segmenter(task.network, config, run.data.pictures.size, run.data.classes, run.folder.path)

    def look(self) -> None:
        """Measures the network on all held-out pictures, and draws some of them."""
        path, held_out = self.run.folder.path, self.run.data.held_out
        segmenter = load_segmenter(path).to(self.run.machine.device)
        found = evaluate_segmenter(segmenter, held_out)
        self.log.say(
            f"held out: {found['mean_iou']:.1%} mean intersection over union, "
            f"{found['accuracy']:.2%} of the pixels right"
        )
        shown = held_out.batch(torch.arange(min(SHOWN, len(held_out))))
        predicted = segmenter.segment(shown.pictures).cpu()
        sheet = masks_grid(shown.pictures, shown.masks, {"predicted": predicted})
        save_png(sheet, path / "pictures" / "segmentation.png")
        self.run.folder.add_results(segmentation=found)


class SegmentationRun(Kind):
    """A network that gives every pixel a class."""

    name = "segmentation"
    config_kind = SegmentationRunConfig
    recipes = SEGMENTATION_RECIPES
    stages = (SegmenterStage,)
    settled = Kind.settled | {
        "segmenter.channels": lambda data: data.pictures.channels,
        "segmenter.classes": lambda data: len(data.classes),
    }

    @classmethod
    def open(cls, config: DataConfig, progress: bool) -> Data:
        if config.stream:
            raise UserError("data.stream was given", "pictures with masks are read as a whole")
        everything = open_segmented(
            config.source,
            size=config.size,
            channels=config.channels,
            workers=config.workers,
            progress=shows(progress),
        )
        train, held_out = everything.split("train"), everything.split("held_out")
        return Data(train, held_out, train.pictures, everything.classes, everything.fingerprint)

    @classmethod
    def check(cls, config: SegmentationRunConfig, data: Data) -> None:
        with torch.random.fork_rng(), torch.no_grad():
            network = build_segmenter(config.segmenter).eval()
            network(torch.zeros(1, config.segmenter.channels, config.data.size, config.data.size))

    @classmethod
    def load(cls, folder: RunFolder) -> Segmenter:
        return load_segmenter(folder.path)

    @classmethod
    def evaluate(
        cls, trained: Segmenter, source: str, split: str, lpips: str | None = None
    ) -> dict[str, Any]:
        refuse_lpips(lpips)
        labelled = open_segmented(source, size=trained.size, channels=trained.channels)
        if labelled.classes != trained.classes:
            raise UserError(
                f"masks of the classes {', '.join(labelled.classes)} were given",
                f"{', '.join(trained.classes)} were expected",
            )
        return evaluate_segmenter(trained, labelled.split(split))


def evaluate_segmenter(segmenter: Segmenter, labelled: Segmented, batch: int = 64) -> dict[str, Any]:
    """Mean intersection over union, accuracy, and the intersection over union of each class."""
    classes = segmenter.config.classes
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    for part in batches_of(labelled, batch):
        counts += confusion(segmenter.segment(part.pictures).cpu(), part.masks, classes)
    found = score(counts)
    known = {
        name: value
        for name, value in zip(segmenter.classes, found.iou.tolist(), strict=True)
        if not math.isnan(value)
    }
    return {
        "mean_iou": found.mean_iou,
        "accuracy": found.accuracy,
        "pictures": len(labelled),
        "iou": known,
    }
