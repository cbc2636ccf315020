"""Resamplers side by side: in a tiny autoencoder on pictures, and in a U-Net on pictures with masks."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from caselli import data, markdown
from caselli.anatomy import cost
from caselli.data import Pictures, to_float
from caselli.data.segmentation import SegmentationBatches, Segmented, open_segmented
from caselli.engine import Machine, machine
from caselli.errors import UserError, lookup
from caselli.evaluate.resampling import ResamplerFigures, fit, resampler_figures, trained_autoencoder
from caselli.files import write_text
from caselli.layer.resample import DOWNSAMPLERS, UPSAMPLERS
from caselli.report import grid, masks_grid, save_png
from caselli.run.segmentation import evaluate_segmenter
from caselli.segmentation import SegmentationTask, Segmenter, SegmenterConfig, build_segmenter
from caselli.shapes import Tensor

TABLES = {"up": UPSAMPLERS, "down": DOWNSAMPLERS}
BATCH = 16
MEASURED, SHOWN = 128, 8
"""Held-out pictures measured, and drawn, at most."""


def asked(names: list[str]) -> list[tuple[str, str]]:
    """(way, name) of every resampler, or of those named.

    Errors: `UnknownName` for a name in neither table.

    Example:
        >>> asked(["bilinear", "blur"])
        [('up', 'bilinear'), ('down', 'blur')]
    """
    for name in names:
        lookup({**UPSAMPLERS, **DOWNSAMPLERS}, "resampler", name)
    return [(way, name) for way, table in TABLES.items() for name in table if not names or name in names]


# in an autoencoder --------------------------------------------------------------------------------------


def compare_in_autoencoder(
    pictures: Pictures, out: Path, names: list[str], *, steps: int = 400, scale: int = 2, seed: int = 0
) -> list[ResamplerFigures]:
    """Trains a tiny autoencoder with each resampler; writes `resamplers.md` and `resamplers.png` in a folder.

    Arguments:
        pictures: both parts of a set.
        out: the folder.
        names: of resamplers; empty for all.
        steps: of training, each.
        scale: of the resamplers; the side of the pictures is a multiple of it.
        seed: of everything random.

    Errors: `UserError` for pictures too small to measure, or of a size that the scale does not divide.
    """
    if pictures.size % scale or pictures.size < 32:
        raise UserError(
            f"pictures of {pictures.size} pixels were given", f"a multiple of {scale} from 32 on was expected"
        )
    train, held_out = (_pixels(pictures.split(part), count) for part, count in _PARTS.items())
    figures, sheets, titles = [], [held_out[:SHOWN]], ["original"]
    for way, name in asked(names):
        network = trained_autoencoder(train, **{way: name}, steps=steps, scale=scale, seed=seed)
        figures.append(resampler_figures(name, way, network, held_out, scale))
        with torch.no_grad():
            sheets.append(network(held_out[:SHOWN]).clamp(-1, 1))
        titles.append(f"{name} ({way})")
    count = len(sheets[0])
    labels = [title if i == 0 else "" for title in titles for i in range(count)]
    save_png(grid(torch.cat(sheets), columns=count, labels=labels), out / "resamplers.png")
    write_text(out / "resamplers.md", autoencoder_table(figures))
    return figures


_PARTS = {"train": 4096, "held_out": MEASURED}


def _pixels(pictures: Pictures, most: int) -> Tensor:
    return to_float(pictures.read(torch.arange(min(most, len(pictures)))))


def autoencoder_table(figures: list[ResamplerFigures]) -> str:
    """The figures as Markdown."""
    head = (
        *("resampler", "checkerboard at the start (%)", "checkerboard learnt (grey levels)"),
        *("shift consistency (dB)", "PSNR (dB)", "PSNR without weights (dB)", "MACs (M)", "parameters", "ms"),
    )
    rows = [
        (
            f"{one.name} ({one.way})",
            _or_dash(one.fresh_checkerboard, 100, 2),
            f"{one.learnt_checkerboard:.2f}",
            f"{one.shift_consistency:.1f}",
            f"{one.psnr:.2f}",
            _or_dash(one.weightless_psnr, 1, 2),
            f"{one.macs / 1e6:.2f}",
            f"{one.parameters:,}",
            f"{one.milliseconds:.1f}",
        )
        for one in figures
    ]
    return markdown.table(head, rows) + "\n"


# in a segmenter -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class SegmenterFigures:
    """One network after its training."""

    name: str
    mean_iou: float
    accuracy: float
    macs: int
    """Of the whole network, for one picture."""
    parameters: int
    seconds: float
    """Of training."""


def segmenters(names: list[str], width: int) -> Iterator[tuple[str, SegmenterConfig]]:
    """A U-Net with each resampler, then each FCN; only the former where resamplers are named."""
    for way, name in asked(names):
        yield f"U-Net, {name} ({way})", SegmenterConfig(width=width, **{f"{way}sampler": name})
    for stride in () if names else (32, 16, 8):
        yield f"FCN-{stride}s", SegmenterConfig(f"fcn{stride}s", width=width)


def compare_in_segmenter(
    labelled: Segmented, out: Path, names: list[str], *, steps: int = 1200, width: int = 8, seed: int = 0
) -> list[SegmenterFigures]:
    """Trains a small segmenter with each resampler; writes `segmenters.md` and `segmenters.png` in a folder.

    Arguments:
        labelled: both parts of a set with masks.
        out: the folder.
        names: of resamplers; empty for all, and the FCNs.
        steps: of training, each.
        width: of the networks at full size.
        seed: of everything random.
    """
    held_out = labelled.split("held_out")
    shown, figures, sheets = held_out.batch(torch.arange(min(SHOWN, len(held_out)))), [], []
    where = machine("auto", "cpu")
    for name, config in segmenters(names, width):
        config = dataclasses.replace(
            config, channels=labelled.pictures.channels, classes=len(labelled.classes)
        )
        start = time.perf_counter()
        network = _trained(config, labelled.split("train"), steps, where, seed)
        seconds = time.perf_counter() - start
        segmenter = Segmenter(network, config, labelled.pictures.size, labelled.classes)
        figures.append(_segmenter_figures(name, segmenter, held_out, seconds))
        sheets.append((name, segmenter.segment(shown.pictures)))
    save_png(masks_grid(shown.pictures, shown.masks, dict(sheets)), out / "segmenters.png")
    write_text(out / "segmenters.md", segmenter_table(figures))
    return figures


def _trained(
    config: SegmenterConfig, labelled: Segmented, steps: int, where: Machine, seed: int
) -> torch.nn.Module:
    """Same start, order and rate for every network."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        task = SegmentationTask(build_segmenter(config), config.classes)
    with contextlib.closing(SegmentationBatches(labelled, BATCH, seed=seed).stream()) as batches:

        def loss(step: int) -> Tensor:
            with where.autocast():
                return task(next(batches), step).total

        fit(task, loss, steps, 4e-3)
    return task.network.eval()


def _segmenter_figures(
    name: str, segmenter: Segmenter, held_out: Segmented, seconds: float
) -> SegmenterFigures:
    found: dict[str, Any] = evaluate_segmenter(segmenter, held_out)
    counted = cost(segmenter.network, (segmenter.config.channels, segmenter.size, segmenter.size))
    return SegmenterFigures(
        name, found["mean_iou"], found["accuracy"], counted.macs, counted.parameters, seconds
    )


def segmenter_table(figures: list[SegmenterFigures]) -> str:
    """The figures as Markdown."""
    head = ("network", "mean IoU (%)", "pixels right (%)", "MACs (M)", "parameters", "training (s)")
    rows = [
        (
            one.name,
            f"{100 * one.mean_iou:.1f}",
            f"{100 * one.accuracy:.2f}",
            f"{one.macs / 1e6:.1f}",
            f"{one.parameters:,}",
            f"{one.seconds:.0f}",
        )
        for one in figures
    ]
    return markdown.table(head, rows) + "\n"


def _or_dash(value: float | None, scale: float, digits: int) -> str:
    return "–" if value is None else f"{scale * value:.{digits}f}"


def compare(task: str, source: str, out: Path, names: list[str], **options: Any) -> str:
    """Opens what the task needs, compares, and gives the table; options are those of the comparisons.

    Arguments:
        task: autoencoder or segmentation.
        source: pictures, or pictures with masks.
        out: the folder.
        names: of resamplers; empty for all.
    """
    size, progress = options.pop("size", None), options.pop("progress", False)
    if task == "segmentation":
        labelled = open_segmented(source, size=size, progress=progress)
        return segmenter_table(compare_in_segmenter(labelled, out, names, **options))
    pictures = data.open(source, size=size, split="all", progress=progress)
    return autoencoder_table(compare_in_autoencoder(pictures, out, names, **options))
