"""The summary of a one-stage run: pictures, and figures of the three uses."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch

from caselli.data import Pictures, spread, to_float
from caselli.engine import Log
from caselli.errors import UserError
from caselli.evaluate import compare_sets, evaluate_family, readability
from caselli.family import FamilyModel
from caselli.features import features_of, train_classifier
from caselli.report import grid, pairs, save_png
from caselli.run.config import ReadingConfig
from caselli.run.folder import RunFolder
from caselli.run.judgement import look_as_judge

SHOWN, ENDS, STEPS = 24, 6, 9
"""Pictures reconstructed; walks shown, and pictures of a walk."""
COMPARABLE = 100
"""Fewer pictures than this say nothing of a set."""


def look_at_family(
    folder: RunFolder, model: FamilyModel, pictures: Pictures, held_out: Pictures, reading: ReadingConfig
) -> None:
    """Samples, reconstructions and walks as pictures; likelihood, probe and readability as figures."""
    figures = _samples(folder, model)
    for name, look in (("reconstructions", _reconstructions), ("latent_walk", _walk)):
        try:
            save_png(look(model, held_out), folder.path / "pictures" / f"{name}.png")
        except UserError:  # a family without latents
            continue
    evaluation = evaluate_family(model, pictures, held_out)
    found = {k: v for k, v in dataclasses.asdict(evaluation).items() if v is not None}
    if pictures.labels is not None and reading.seconds:
        figures |= _read(folder, model, pictures, held_out, reading)
    look_as_judge(folder, model, pictures, held_out, reading.judged, model.sample_like)
    folder.add_results(evaluation=found, samples=figures)


def _samples(folder: RunFolder, model: FamilyModel) -> dict[str, Any]:
    labels = list(range(min(62, len(model.classes)))) or None
    start = time.perf_counter()
    made = model.sample(48 if labels is None else len(labels), label=labels)
    seconds = time.perf_counter() - start
    names = None if labels is None else [model.classes[label] for label in labels]
    save_png(grid(made, labels=names), folder.path / "pictures" / "samples.png", {"seed": "0"})
    if names is not None:  # several of one label: a collapse would make them alike
        each = [label for label in labels[:: max(1, len(labels) // 6)][:6] for _ in range(8)]
        sheet = grid(model.sample(len(each), label=each, seed=1000), columns=8)
        save_png(sheet, folder.path / "pictures" / "samples_of_six_labels.png", {"seed": "1000"})
    return {"drawn_per_second": len(made) / seconds}


def _reconstructions(model: FamilyModel, held_out: Pictures):
    indices = spread(len(held_out), SHOWN)
    x = to_float(held_out.read(indices))
    return pairs(x, model.reconstruct(x).cpu())


def _walk(model: FamilyModel, held_out: Pictures):
    """From one picture of the prior to another, each row at one label; on the sphere, as the prior lies."""
    start, end = (model.latents(ENDS, seed=seed) for seed in (2000, 3000))
    steps = torch.linspace(0, torch.pi / 2, STEPS)
    path = torch.stack([start * angle.cos() + end * angle.sin() for angle in steps], 1)
    classes = len(model.classes)
    labels = (torch.arange(ENDS) * classes // ENDS).repeat_interleave(STEPS) if classes else None
    labels = labels if labels is None else labels.to(model.device)
    return grid(model.decode(path.flatten(0, 1), labels).cpu(), columns=STEPS)


def _read(
    folder: RunFolder, model: FamilyModel, pictures: Pictures, held_out: Pictures, reading: ReadingConfig
) -> dict[str, Any]:
    """The samples as an independent classifier sees them: their labels, and the set beside real pictures."""
    classifier = train_classifier(pictures, seconds=reading.seconds, seed=1)
    count = min(reading.samples, len(held_out))
    labels = held_out.labels[:count]
    made = model.sample(count, label=labels.tolist() if model.classes else None, seed=10_000)
    real = to_float(held_out.read(torch.arange(count)))
    figures: dict[str, Any] = {"samples_read": count}
    if count >= COMPARABLE:
        sets = compare_sets(
            features_of(classifier, real),
            features_of(classifier, made),
            features=classifier.features_name,
            reference=f"{held_out.name}, held out",
        )
        figures |= {name: getattr(sets, name) for name in ("frechet", "precision", "recall", "coverage")}
    if model.classes:
        figures |= dataclasses.asdict(readability(classifier, made, labels, real, labels))
    words = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in figures.items())
    Log(folder.path, "samples").say(f"samples beside held-out pictures: {words}")
    return figures
