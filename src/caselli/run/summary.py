"""Pictures and figures of a run of two stages when a stage is done."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from caselli.data import Pictures, spread, to_float
from caselli.engine import Log
from caselli.evaluate import evaluate_model, readability
from caselli.features import train_classifier
from caselli.model import Model
from caselli.order import ORDERS
from caselli.report import grid, pairs, save_png
from caselli.run.condition_summary import look_at_captions, look_at_upscaled, reads_captions
from caselli.run.config import ReadingConfig
from caselli.run.folder import RunFolder
from caselli.run.judgement import look_as_judge
from caselli.sampling import Timed
from caselli.tokenizer import Tokenizer

SHOWN = 24
"""Pictures in a row of originals and reconstructions, at most."""
EVALUATED = 4096
"""Held-out pictures evaluated, at most."""
DRAWING_SECONDS = 60
"""Samples that would take longer to draw are not judged as a set."""


def look_at_tokenizer(folder: RunFolder, tokenizer: Tokenizer, held_out: Pictures) -> None:
    """Reconstructions beside held-out originals."""
    indices = spread(len(held_out), SHOWN)
    x = to_float(held_out.read(indices))
    model = Model(tokenizer, None, ORDERS["raster"](), held_out.size)
    described = tokenizer.report((held_out.size, held_out.size))
    figures = {
        "codes_per_picture": described.codes,
        "bits_per_picture": described.bits,
        "compression_ratio": described.compression,
        "parameters": described.parameters,
    }
    y = model.decode(model.encode(x.to(model.device))).cpu()
    save_png(pairs(x, y), folder.path / "pictures" / "reconstructions.png")
    folder.add_results(tokenizer=figures)


def look_at_samples(
    folder: RunFolder, model: Model, pictures: Pictures, held_out: Pictures, reading: ReadingConfig
) -> None:
    """A page of samples, the figures of both stages, and how well samples are read as their label."""
    log = Log(folder.path, "samples")
    labels = _labels_to_show(model, pictures, 48)
    names = None if labels is None else [model.classes[label] for label in labels]
    fastest, why = model.engine()
    if why:
        log.say(f"sampling {fastest.name}: {why}")
    engine = Timed(fastest)
    if model.require_prior().config.condition_picture == "low_resolution":
        look_at_upscaled(folder, model, held_out, engine)
    if reads_captions(model, held_out):
        look_at_captions(folder, model, held_out, engine, log)
    else:
        samples = model.sample(48 if labels is None else len(labels), label=labels, engine=engine)
        save_png(grid(samples, labels=names), folder.path / "pictures" / "samples.png", {"seed": "0"})
    shown = held_out.subset(spread(len(held_out), min(EVALUATED, len(held_out))))
    evaluation = {k: v for k, v in dataclasses.asdict(evaluate_model(model, shown)).items() if v is not None}
    log.say(
        f"held out: {evaluation['psnr']:.2f} dB, {evaluation['codebook_use']:.1%} of the codes in use, "
        f"{evaluation['prior_bits_per_picture']:.1f} bits a picture"
    )
    figures: dict[str, Any] = {"tokens_per_second": engine.codes / engine.seconds}
    if model.classes and reading.seconds:
        figures |= _readability(model, pictures, shown, reading, log)
    seconds = reading.judged * model.codes_per_picture / figures["tokens_per_second"]
    draw = model.sample_like if seconds < DRAWING_SECONDS else None
    look_as_judge(folder, model, pictures, held_out, reading.judged, draw)
    folder.add_results(evaluation=evaluation, samples=figures)


def _readability(
    model: Model, pictures: Pictures, held_out: Pictures, reading: ReadingConfig, log: Log
) -> dict[str, Any]:
    """Share of samples read as the label asked for by an independent classifier, trained on real pictures."""
    classifier = train_classifier(pictures, seconds=reading.seconds, seed=1)
    each = max(1, reading.samples // len(model.classes))
    asked = torch.arange(len(model.classes)).repeat_interleave(each)
    samples = model.sample(len(asked), label=asked.tolist(), seed=10_000)
    real = to_float(held_out.read(torch.arange(len(held_out))))
    found = readability(classifier, samples, asked, real, held_out.labels)
    log.say(
        f"a classifier of real pictures reads {found.read_as_asked:.1%} of {len(asked)} samples as the label "
        f"asked for, and {found.real_read_as_labelled:.1%} of real held-out pictures: "
        f"{found.read_share_of_real:.1%} of the real rate"
    )
    return dataclasses.asdict(found)


def _labels_to_show(model: Model, pictures: Pictures, count: int) -> list[int] | None:
    """Several of each label where classes are few, all once, or the most frequent where they are many."""
    if not model.classes:
        return None
    classes = len(model.classes)
    if classes > 64:
        frequency = torch.bincount(pictures.labels, minlength=classes)
        return frequency.topk(count).indices.sort().values.tolist()
    return [label for label in range(classes) for _ in range(max(1, count // classes))]
