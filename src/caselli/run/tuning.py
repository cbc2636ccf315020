"""A trained run fine-tuned on new pictures, as a run of its own; what it forgot is measured."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch

from caselli import ranks
from caselli.data import CodeStore
from caselli.engine import Log, machine
from caselli.evaluate import evaluate_model
from caselli.model import Model, load
from caselli.prior import PriorTask
from caselli.report import grid, rows, save_png
from caselli.run.config import DataConfig, ReadingConfig
from caselli.run.folder import RunFolder
from caselli.run.pictures import remembered
from caselli.run.summary import look_at_tokenizer
from caselli.run.training import resumed, write_page
from caselli.run.tune_config import TUNED, TuneConfig, Tuned
from caselli.run.tune_stages import TunePrior, old_codes, relabelled, tune_tokenizer
from caselli.run.two_stage import TwoStage
from caselli.run.two_stage_config import TwoStageConfig

MEASURED = 1024
"""Held-out pictures of the old run whose bits are measured before and after, at most."""
SHOWN, BESIDE = 48, 12
"""Samples of the new run, and those beside the old one's."""


def tune(
    run: str | Path,
    source: str,
    out: str | Path,
    config: TuneConfig | None = None,
    *,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Fine-tunes a run on new pictures; returns the new run's folder.

    The new run knows the labels and words of both. With adapters their file lies in it too, for
    `caselli.load(run, adapter=...)`.

    Arguments:
        run: a run with a prior, own or imported; it is not changed.
        source: the new pictures; see `caselli.data.open`.
        out: the new run's folder; new or empty, unless `resume`.
        config: what is trained; None for adapters of the default rank.
        resume: go on with a training that was interrupted.
        progress: True for a bar while pictures are read.

    Errors: `UserError` for a run or pictures that do not fit, and for a folder that is taken.

    Example:
        >>> tune("run", "my-pictures", "tuned")  # doctest: +SKIP
        PosixPath('tuned')
    """
    ranks.start()
    config = config or TuneConfig()
    before = load(run)
    before.require_prior()
    folder = _begin(Path(run), before, source, RunFolder(out), config, resume, progress)
    new = resumed(TwoStage, folder, {}, progress)
    _say_what_is_left_out(new, before)
    tune_tokenizer(new, before, config)
    stage = TunePrior(new, before, config)
    stage.make()
    if ranks.is_first():
        with ranks.alone():
            _look(new, stage, Path(run))
        write_page(folder, TwoStage)
    ranks.wait()
    return folder.path


def _begin(
    run: Path,
    before: Model,
    source: str,
    new: RunFolder,
    config: TuneConfig,
    resume: bool,
    progress: bool,
) -> RunFolder:
    """The new folder with the old run's configuration and the new pictures; nothing is overwritten."""
    new.refuse_foreign(first=TUNED)
    if config.has_begun(new, run, resume):
        return new
    if (new.path / TUNED).exists():  # a command that was cut short left it, or somebody
        config.expect_in(new.path, run)
    old = RunFolder(run)
    kept = TwoStage.config_in(old) if old.holds_run() else TwoStageConfig(recipe="adopted")
    data = DataConfig(
        source=remembered(source),
        size=before.size,
        channels=before.channels,
        flip=config.flip,
        shift=config.shift,
        workers=kept.data.workers,
    )
    opened = TwoStage.open(data, progress)
    data = dataclasses.replace(data, views=config.views_of(len(opened.train)))
    changes = {"prior": before.prior.config, "tokenizer": before.tokenizer.config, "seed": config.seed}
    kept = dataclasses.replace(kept, data=data, reading=ReadingConfig(seconds=0), **changes)
    if ranks.is_first():
        new.path.mkdir(parents=True, exist_ok=True)
        config.save(new.path, run)
        new.write(TwoStage.name, kept, opened.fingerprint, machine(kept.precision))
    ranks.wait()
    return new


def _say_what_is_left_out(run: TwoStage, before: Model) -> None:
    if run.data.pictures.captions is not None and before.prior.alphabet.text is None:
        log = Log(run.folder.path, "tune")
        log.say("the captions are left out: the run was trained without any")


# what came of it --------------------------------------------------------------------------------------------


def _look(run: TwoStage, stage: TunePrior, old: Path) -> None:
    """Figures and pictures of the new run, and the bits of old and new pictures before and after."""
    folder, device, before = run.folder, run.machine.device, stage.before.to(run.machine.device)
    after = load(folder.path).to(device)
    look_at_tokenizer(folder, after.tokenizer, run.data.held_out)
    evaluation = dataclasses.asdict(evaluate_model(after, run.data.held_out))
    folder.add_results(evaluation={name: value for name, value in evaluation.items() if value is not None})
    new, reference = stage.codes("held_out"), old_codes(old, MEASURED)
    if reference is None:
        reference = stage.drawn(256, seed=1)
        Log(folder.path, "tune").say(
            "the old run has no held-out codes: forgetting is measured on its samples"
        )
    reference = relabelled(reference, after.classes)
    bits = {
        f"{name}_{when}": picture_bits(model, store)
        for name, store in (("new", new), ("old", reference))
        for when, model in (("before", before), ("after", after))
    }
    found = Tuned(
        **bits,
        forgotten=bits["old_after"] / bits["old_before"] - 1,
        replayed=stage.share_replayed(),
        parameters_trained=folder.results().get("tuned", {}).get("parameters_trained", 0),
    )
    folder.add_results(tune=dataclasses.asdict(found))
    Log(folder.path, "tune").say(
        f"held out: {found.new_before:.1f} bits a new picture before, {found.new_after:.1f} after; "
        f"{found.old_before:.1f} an old one before, {found.old_after:.1f} after ({found.forgotten:+.1%})"
    )
    _show(folder.path / "pictures", before, after, stage.classes)


def _show(folder: Path, before: Model, after: Model, classes: tuple[str, ...]) -> None:
    """Samples of the new labels; and some as the old run draws them, by the label if it knows it."""
    labels = [classes[i % len(classes)] for i in range(SHOWN)] if classes else None
    samples = after.sample(SHOWN, label=labels)
    save_png(grid(samples, labels=labels), folder / "samples.png", {"seed": "0"})
    known = labels[:BESIDE] if labels and set(labels) <= set(before.classes) else None
    shown = {"before": before.sample(BESIDE, label=known), "after": samples[:BESIDE]}
    save_png(rows(shown), folder / "samples_before_and_after.png")


@torch.no_grad()
def picture_bits(model: Model, store: CodeStore, label: str = "", batch: int = 64) -> float:
    """Mean bits that a model's prior needs for a picture of a store, given labels and captions that it knows.

    Arguments:
        model: with a prior.
        store: codes of its tokenizer.
        label: label of the pictures where the store has none.
        batch: pictures at a time.

    Example:
        >>> picture_bits(load("run"), CodeStore.load("codes.safetensors", None))  # doctest: +SKIP
        412.7
    """
    store = relabelled(store, model.classes, label)
    task = PriorTask(model.require_prior(), model.order, model.grid)
    total = 0.0
    for indices in torch.arange(len(store)).split(batch):
        part = store.batch(indices)
        part = dataclasses.replace(part, codes=part.codes.to(model.device))
        told = task.conditions(part, torch.Generator().manual_seed(0)).to(model.device)
        sequence = model.order.flatten(part.codes, model.grid)
        total -= model.prior.log_prob(sequence, told).sum().item() / math.log(2)
    return total / len(store)


def tuned_figures(folder: Path) -> dict[str, Any]:
    """The figures of `tune`, by name; empty for a run that was not fine-tuned."""
    return RunFolder(folder).results().get("tune", {})
