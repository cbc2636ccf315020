"""A trained run made smaller, as a run of its own: compressed, trained to recover, measured."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import torch

from caselli import ranks
from caselli.data import CodeStore, Pictures, to_float
from caselli.evaluate import run_figures
from caselli.files import alone
from caselli.model import Model, load, load_tokenizer, save_tokenizer
from caselli.plain import override
from caselli.report import rows, save_png
from caselli.run.folder import SLIMMED, RunFolder
from caselli.run.slim_config import SlimConfig
from caselli.run.slim_prior import SlimPrior
from caselli.run.slim_tokenizer import SlimTokenizer
from caselli.run.summary import EVALUATED, look_at_samples, look_at_tokenizer
from caselli.run.training import recorded_machine, resumed, write_page
from caselli.run.two_stage import TwoStage
from caselli.tokenizer import Tokenizer
from caselli.weights import read_compression

SHOWN = 12
"""Samples before and after, side by side."""


def slim(
    run: str | Path,
    out: str | Path,
    config: SlimConfig,
    source: str | None = None,
    *,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Makes a run smaller; returns the new run's folder.

    Arguments:
        run: a run of two stages; it is not changed.
        out: the new run's folder; new or empty, unless `resume`.
        config: what to do.
        source: the pictures, where they are no longer where the run had them.
        resume: go on with a training that was interrupted.
        progress: whether long work shows a bar.

    Errors: `UserError` for a run or a method that does not fit, and for a folder that is taken.

    Example:
        >>> slim("run", "small", SlimConfig(quantise="int8"))  # doctest: +SKIP
        PosixPath('small')
    """
    ranks.start()
    with alone(out) if ranks.is_first() else contextlib.nullcontext():
        return _slimmed(run, out, config, source, resume, progress)


def _slimmed(
    run: str | Path, out: str | Path, config: SlimConfig, source: str | None, resume: bool, progress: bool
) -> Path:
    """The whole of `slim` in a folder of its own."""
    if not RunFolder(out).holds_run() and ranks.is_first():
        (Path(out) / SLIMMED).unlink(missing_ok=True)  # killed before there was a run
    before = load(run)
    if config.covers("prior"):
        before.require_prior()
    folder = _begin(RunFolder(run), RunFolder(out), config, source, resume)
    new = resumed(TwoStage, folder, {}, progress)
    if config.covers("tokenizer"):
        SlimTokenizer(new, before, config, Path(run)).make()
    _carry_over(new, before, Path(run))
    if before.prior is not None:
        SlimPrior(new, before, config, Path(run)).make()
    if ranks.is_first():
        with ranks.alone():
            _look(new, before, Path(run), config)
        write_page(folder, TwoStage)
    ranks.wait()
    return folder.path


def _begin(old: RunFolder, new: RunFolder, config: SlimConfig, source: str | None, resume: bool) -> RunFolder:
    """The new folder with the old run's configuration and its data; nothing is overwritten."""
    new.refuse_foreign()
    if config.has_begun(new, old.path, resume):
        return new
    kept = TwoStage.config_in(old)
    if source is not None:
        kept = override(kept, {"data.source": source})
    if ranks.is_first():
        new.path.mkdir(parents=True, exist_ok=True)
        config.save(new.path, old.path)
        new.write(TwoStage.name, kept, old.describe()["data_fingerprint"], recorded_machine(old))
    ranks.wait()
    return new


def _carry_over(run: TwoStage, before: Model, old: Path) -> None:
    """The tokenizer where it stays as it is, and the old run's codes, stamped with the new tokenizer, where
    that gives the same ones."""
    path = run.folder.path
    if ranks.is_first():
        if not (path / "tokenizer.json").exists():
            compression = read_compression(old / "tokenizer")
            save_tokenizer(before.tokenizer, path, before.size, compression, before.decoder_teachers)
        tokenizer = load_tokenizer(path)[0]
        for split in ("train", "held_out"):
            source, target = (folder / "codes" / f"{split}.safetensors" for folder in (old, path))
            if source.exists() and not target.exists() and _encodes_alike(tokenizer, before.tokenizer):
                store = CodeStore.load(source, load_tokenizer(old)[0].fingerprint())
                store.tokenizer = tokenizer.fingerprint()
                store.save(target)
    ranks.wait()


def _look(run: TwoStage, before: Model, old: Path, config: SlimConfig) -> None:
    """Figures and pictures of the new run, and both runs side by side."""
    folder, device = run.folder, run.machine.device
    after = load(folder.path).to(device)
    look_at_tokenizer(folder, after.tokenizer, run.data.held_out)
    if after.prior is not None:
        look_at_samples(folder, after, run.data.pictures, run.data.held_out, run.config.reading)
    models = {"before": before.to(device), "after": after}
    held_out = run.data.held_out.subset(torch.arange(min(EVALUATED, len(run.data.held_out))))
    found = run_figures(models, {"before": old, "after": folder.path}, held_out)
    figures = {name: dataclasses.asdict(one) for name, one in found}
    folder.add_results(slim={"method": config.words(), "from": old.resolve().name, **figures})
    save_png(rows(_side_by_side(models, run.data.held_out)), folder.path / "pictures" / "slim.png")


def _side_by_side(models: dict[str, Model], held_out: Pictures) -> dict[str, torch.Tensor]:
    """Samples with the same noise, or reconstructions where there is no prior."""
    if any(model.prior is None for model in models.values()):
        x = to_float(held_out.read(torch.arange(min(SHOWN, len(held_out)))))
        return {"original": x, **{name: model.reconstruct(x) for name, model in models.items()}}
    classes = next(iter(models.values())).classes
    labels = [i * len(classes) // SHOWN for i in range(SHOWN)] if classes else None
    return {name: model.sample(SHOWN, label=labels) for name, model in models.items()}


def _encodes_alike(one: Tokenizer, other: Tokenizer) -> bool:
    """True if two tokenizers have the same encoder and quantizer."""
    left, right = one.state_dict(), other.state_dict()
    names = [name for name in left if not name.startswith("decoder.")]
    return all(name in right and torch.equal(left[name], right[name]) for name in names)
