"""Whole runs of dense prediction: pictures with masks become a network that gives every pixel a class."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from caselli import ranks
from caselli.data import Augment, Batches, Pictures, SegmentationBatch, Segmented, open_segmented
from caselli.engine import Log, Machine, Training, TrainingConfig
from caselli.errors import lookup
from caselli.report import masks_grid, save_png, write_report
from caselli.run.config import DataConfig, override
from caselli.run.folder import RunFolder, resumed_config
from caselli.run.opening import enter, expect_same, one_stage_budget, recorded_machine, settle
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

STAGE = "segmenter"
MAY_CHANGE = ("training.", "data.workers")
"""Fields that a resumed run may be given anew."""
SHOWN = 10
"""Held-out pictures drawn beside their masks."""


@dataclasses.dataclass(frozen=True)
class SegmentationRunConfig:
    """Everything that a run of dense prediction is made from."""

    recipe: str = "unet"
    """The recipe that the other fields started from."""
    seed: int = 0
    """Of everything random."""
    precision: str = "auto"
    """auto (measured), float32 or bfloat16 (autocast; weights stay float32)."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    """Pictures with masks."""
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


def train_segmentation(
    source: str | Path,
    out: str | Path,
    *,
    recipe: str = "unet",
    size: int | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    resume: bool = False,
    changes: dict[str, Any] | None = None,
    progress: bool = True,
) -> Path:
    """Trains a network that segments pictures, measures it, and writes the report; returns the run folder.

    Arguments:
        source: pictures with masks; see `caselli.data.open_segmented`.
        out: the run folder; new or empty, unless `resume`.
        recipe: name in `SEGMENTATION_RECIPES`.
        size, minutes, steps, resume, changes, progress: as in `caselli.run.train`.

    Errors: `UserError` for whatever is wrong with the arguments, the pictures or the folder.

    Example:
        >>> train_segmentation("glyphs", "run", minutes=5)  # doctest: +SKIP
        PosixPath('run')
    """
    folder, begun = enter(out, resume)
    changes = {"data.source": str(source), **one_stage_budget(size, minutes, steps), **(changes or {})}
    run = (_resumed if begun else _begun)(folder, recipe, changes, progress)
    if not (folder.path / "segmenter.json").exists():
        _train(run)
    if ranks.is_first():
        _look(run)
        page = write_report(folder.path)
        Log(folder.path, "report").say(f"look at {page}")
    ranks.wait()
    return folder.path


@dataclasses.dataclass(frozen=True)
class _Run:
    folder: RunFolder
    config: SegmentationRunConfig
    labelled: Segmented
    machine: Machine


def _begun(folder: RunFolder, recipe: str, changes: dict[str, Any], progress: bool) -> _Run:
    chosen = lookup(SEGMENTATION_RECIPES, "recipe", recipe)
    asked = override(DataConfig(), {k[5:]: v for k, v in changes.items() if k.startswith("data.")})
    labelled = _open(asked, progress)
    pictures = labelled.pictures
    settled = {
        "data.size": pictures.size,
        "data.channels": pictures.channels,
        "segmenter.channels": pictures.channels,
        "segmenter.classes": len(labelled.classes),
    }
    config = override(chosen(pictures), changes | settled)
    _check(config)
    where = settle(folder, config, labelled.fingerprint)
    if ranks.is_first():
        folder.add_results(data=_figures(labelled))
    return _Run(folder, config, labelled, where)


def _resumed(folder: RunFolder, recipe: str, changes: dict[str, Any], progress: bool) -> _Run:
    described = folder.describe()
    old = override(SegmentationRunConfig(), described["config"])
    config = resumed_config(old, changes, MAY_CHANGE)
    labelled = _open(config.data, progress)
    expect_same(folder, config.data.source, labelled.fingerprint)
    where = recorded_machine(folder)
    if ranks.is_first():
        folder.write(config, labelled.fingerprint, where)
    return _Run(folder, config, labelled, where)


def _open(config: DataConfig, progress: bool) -> Segmented:
    return open_segmented(
        config.source,
        size=config.size,
        channels=config.channels,
        workers=config.workers,
        progress=progress and ranks.is_first() and sys.stderr.isatty(),
    )


def _check(config: SegmentationRunConfig) -> None:
    """Raises what is wrong with the network before time is spent."""
    with torch.random.fork_rng(), torch.no_grad():
        network = build_segmenter(config.segmenter).eval()
        network(torch.zeros(1, config.segmenter.channels, config.data.size, config.data.size))


def _figures(labelled: Segmented) -> dict[str, Any]:
    pictures = labelled.pictures
    held_out = int(pictures.held_out.sum())
    return {
        "name": pictures.name,
        "count": len(pictures) - held_out,
        "held_out": held_out,
        "size": pictures.size,
        "channels": pictures.channels,
        "class_names": list(labelled.classes),
        "bad": [{"name": bad.name, "reason": bad.reason} for bad in pictures.bad],
    }


def _train(run: _Run) -> None:
    config, training = run.config, run.config.training
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        task = SegmentationTask(build_segmenter(config.segmenter), config.segmenter.classes)
    batches = Batches(
        run.labelled.split("train"),
        training.batch,
        seed=config.seed,
        augment=Augment(flip=config.data.flip, shift=config.data.shift),
        rank=ranks.rank(),
        ranks=ranks.count(),
    )
    held_out = _parts(run.labelled.split("held_out"), training.batch)
    path = run.folder.path
    parameters = sum(p.numel() for p in task.parameters())
    Log(path, STAGE).say(f"{config.segmenter.architecture}, {parameters / 1e6:.2f} M parameters")
    trained = Training(task, batches, held_out, training, path, STAGE, run.machine, config.seed).run()
    if ranks.is_first():
        names = run.labelled.classes
        save_segmenter(trained.network, config.segmenter, run.labelled.pictures.size, names, path)
    ranks.wait()


def _parts(labelled: Segmented, batch: int) -> list[SegmentationBatch]:
    return [labelled.batch(indices) for indices in torch.arange(len(labelled)).split(batch)]


def _look(run: _Run) -> None:
    """Measures the network on all held-out pictures, and draws some of them."""
    path, held_out = run.folder.path, run.labelled.split("held_out")
    segmenter = load_segmenter(path)
    found = evaluate_segmenter(segmenter, held_out)
    run.folder.add_results(segmentation=found)
    Log(path, STAGE).say(
        f"held out: {found['mean_iou']:.1%} mean intersection over union, "
        f"{found['accuracy']:.2%} of the pixels right"
    )
    shown = held_out.batch(torch.arange(min(SHOWN, len(held_out))))
    predicted = segmenter.segment(shown.pictures).cpu()
    save_png(
        masks_grid(shown.pictures, shown.masks, {"predicted": predicted}),
        path / "pictures" / "segmentation.png",
    )


def evaluate_segmenter(segmenter: Segmenter, labelled: Segmented, batch: int = 64) -> dict[str, Any]:
    """Mean intersection over union, accuracy, and the intersection over union of each class."""
    classes = segmenter.config.classes
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    for part in _parts(labelled, batch):
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
