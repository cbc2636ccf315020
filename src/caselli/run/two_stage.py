"""A whole run, from pictures to report, taken up wherever it stands."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from caselli import data, ranks
from caselli.data import Batches, CodeStore, Pictures
from caselli.engine import Log, Machine, Training
from caselli.errors import UserError, lookup
from caselli.model import build_prior, grid_of, load, load_tokenizer, save_prior, save_tokenizer
from caselli.plain import options_of
from caselli.prior import PriorTask
from caselli.quantizer import QUANTIZERS
from caselli.run.conditions import check_condition, encode_condition, vocabulary
from caselli.run.config import RunConfig, override
from caselli.run.encoding import encode
from caselli.run.family import train_family
from caselli.run.family_config import recipe_of_run
from caselli.run.family_recipes import FAMILY_RECIPES
from caselli.run.folder import RunFolder, resumed_config
from caselli.run.opening import (
    VALIDATION_PICTURES,
    enter,
    expect_same,
    open_pictures,
    recorded_machine,
    say_pictures,
    settle,
    validation_batches,
)
from caselli.run.segmentation import SEGMENTATION_RECIPES, train_segmentation
from caselli.run.summary import look_at_samples, look_at_tokenizer, summarise
from caselli.run.two_stage_recipes import RECIPES
from caselli.tokenizer import AdversarialTask, Tokenizer, TokenizerConfig, TokenizerTask
from caselli.tokenizer.autoencoding import Autoencoding

STAGES = ("both", "tokenizer", "prior")
ONE_STAGE: dict[str, Callable[..., Path]] = {
    **dict.fromkeys(FAMILY_RECIPES, train_family),
    **dict.fromkeys(SEGMENTATION_RECIPES, train_segmentation),
}
"""Recipe with one stage → what trains it."""
TOKENIZER_SHARE = 0.35
"""Of the minutes of a run, what the first stage gets."""


def train(
    source: str | Path,
    out: str | Path,
    *,
    recipe: str = "small",
    stage: str = "both",
    size: int | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    resume: bool = False,
    changes: dict[str, Any] | None = None,
    progress: bool = True,
) -> Path:
    """Trains a tokenizer, then a prior over its codes (with a one-stage recipe such as `vae` or `gan` a
    family), and writes the report; returns the run folder.

    Arguments:
        source: pictures; see `caselli.data.open`.
        out: the run folder; new or empty, unless `resume`.
        recipe: name in `RECIPES`.
        stage: both, tokenizer or prior.
        size: height and width in pixels; None for the set's own.
        minutes: wall-clock budget of the training asked for; the schedules follow the clock.
        steps: optimiser steps of each stage, instead of the recipe's.
        resume: go on with the run in `out`; it keeps its configuration. Begins one if there is none.
        changes: fields by dotted name, such as `{"prior.width": 128}`.
        progress: whether long work shows a bar.

    Errors: `UserError` for whatever is wrong with the arguments, the pictures or the folder.

    Example:
        >>> train("pictures", "run", minutes=10)  # doctest: +SKIP
        PosixPath('run')
    """
    if stage not in STAGES:
        raise UserError(f"stage {stage!r} was given", f"one of {', '.join(STAGES)} was expected")
    recipe = recipe_of_run(out) or recipe
    if recipe in ONE_STAGE:
        common = {"recipe": recipe, "size": size, "minutes": minutes, "steps": steps}
        return ONE_STAGE[recipe](source, out, **common, resume=resume, changes=changes, progress=progress)
    folder, begun = enter(out, resume)
    adopted = folder.awaits_pictures()
    ranks.wait()
    changes = _budget(stage, minutes, steps) | (changes or {})
    if size is not None:
        changes["data.size"] = size
    if adopted:
        run = Run.adopted(folder, str(source), recipe, changes, progress)
    elif begun:
        run = Run.resumed(folder, str(source), changes, progress)
    else:
        run = Run.begun(folder, str(source), recipe, changes, progress)
    if stage in ("both", "tokenizer"):
        run.train_tokenizer()
    if stage in ("both", "prior"):
        run.train_prior()
    if ranks.is_first():
        summarise(folder)
    ranks.wait()
    return folder.path


def _budget(stage: str, minutes: float | None, steps: int | None) -> dict[str, Any]:
    shares = {"tokenizer": TOKENIZER_SHARE, "prior": 1 - TOKENIZER_SHARE} if stage == "both" else {stage: 1.0}
    changes: dict[str, Any] = {}
    for name, share in shares.items():
        if minutes is not None:
            changes[f"training.{name}.minutes"] = minutes * share
        if steps is not None:
            changes |= {f"training.{name}.steps": steps, f"training.{name}.minutes": None}
    return changes


@dataclasses.dataclass
class Run:
    """A run under way: its folder, its pictures, and what trains either stage."""

    folder: RunFolder
    config: RunConfig
    pictures: Pictures
    held_out: Pictures
    machine: Machine

    @classmethod
    def begun(cls, folder, source, recipe, changes, progress, tokenizer=None) -> Run:
        changes = {"data.source": source, **changes}
        chosen = lookup(RECIPES, "recipe", recipe)
        asked = override(RunConfig(), {k: v for k, v in changes.items() if k.startswith("data.")}).data
        everything = open_pictures(asked, progress)
        pictures = everything.split("train")
        size, channels = pictures.size, pictures.channels
        settled = {"data.size": size, "data.channels": channels}
        settled |= {"tokenizer.size": size, "tokenizer.channels": channels}
        start = chosen(pictures)
        start = dataclasses.replace(start, tokenizer=tokenizer or _fitting(start.tokenizer, changes))
        config = override(start, changes | settled)
        _check(config, pictures)
        where = settle(folder, config, pictures.fingerprint)
        return cls(folder, config, pictures, everything.split("held_out"), where).ready()

    @classmethod
    def adopted(cls, folder, source, recipe, changes, progress) -> Run:
        """A run that holds a tokenizer trained elsewhere, and now meets its pictures."""
        own = folder.config()
        kept = {"data.size": own.data.size, "data.channels": own.data.channels}
        for name, value in changes.items():
            if name.startswith("tokenizer.") or kept.get(name, value) != value:
                raise UserError(
                    f"{name} {value!r} was given to a run whose tokenizer was trained elsewhere",
                    "its tokenizer, size and channels stay as they are",
                    "leave it out",
                )
        return cls.begun(folder, source, recipe, changes | kept, progress, own.tokenizer)

    @classmethod
    def resumed(cls, folder, source, changes, progress) -> Run:
        config = resumed_config(folder.config(), {"data.source": source, **changes})
        everything = open_pictures(config.data, progress)
        pictures = everything.split("train")
        expect_same(folder, source, pictures.fingerprint)
        _check(config, pictures)
        where = recorded_machine(folder)
        if ranks.is_first():
            folder.write(config, pictures.fingerprint, where)
        return cls(folder, config, pictures, everything.split("held_out"), where).ready()

    def ready(self) -> Run:
        say_pictures(self.folder, self.pictures, self.held_out, self.machine)
        return self

    # first stage --------------------------------------------------------------------------------------------

    def train_tokenizer(self) -> None:
        """The first stage, unless it is done."""
        path = self.folder.path
        if (path / "tokenizer.json").exists():
            return
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            task = _tokenizer_task(Tokenizer(self.config.tokenizer))
        size = self.pictures.size
        log = Log(path, "tokenizer")
        for words in (str(task.tokenizer.report((size, size))), *task.words()):
            log.say(words)
        config = self.config.training.tokenizer
        batches = Batches(
            self.pictures,
            config.batch,
            seed=self.config.seed,
            augment=self.augment(),
            rank=ranks.rank(),
            ranks=ranks.count(),
        )
        held_out = validation_batches(self.held_out, config.batch)
        task = self.training(task, batches, held_out, config, "tokenizer").run()
        if ranks.is_first():
            save_tokenizer(task.tokenizer, path, size)
            look_at_tokenizer(self.folder, task.tokenizer, self.held_out)
        ranks.wait()

    def augment(self) -> data.Augment:
        """How the pictures are varied."""
        return data.Augment(flip=self.config.data.flip, shift=self.config.data.shift)

    def training(self, task, batches, held_out, config, stage) -> Training:
        """What trains a task of this run."""
        return Training(
            task, batches, held_out, config, self.folder.path, stage, self.machine, self.config.seed
        )

    # second stage -------------------------------------------------------------------------------------------

    def train_prior(self) -> None:
        """The second stage, unless it is done."""
        path = self.folder.path
        if (path / "prior.json").exists():
            return
        if not (path / "tokenizer.json").exists():
            raise UserError(
                f"{path} has no tokenizer yet",
                "the first stage was expected to be done",
                "train with --stage both",
            )
        tokenizer, size = load_tokenizer(path)
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            text = vocabulary(self.config.prior, self.pictures)
            prior, order = build_prior(self.config.prior, tokenizer, size, len(self.pictures.classes), text)
        store, held_out = self.codes(tokenizer, "train"), self.codes(tokenizer, "held_out")
        config = self.config.training.prior
        batches = Batches(store, config.batch, seed=self.config.seed, rank=ranks.rank(), ranks=ranks.count())
        task = PriorTask(prior, order, grid_of(tokenizer, size))
        parameters = sum(p.numel() for p in prior.parameters())
        Log(path, "prior").say(
            f"{len(store)} code maps of {prior.alphabet.length} codes, {parameters / 1e6:.2f} M parameters"
        )
        held = validation_codes(held_out, config.batch)
        task = self.training(task, batches, held, config, "prior").run()
        if ranks.is_first():
            save_prior(task.prior, path, tokenizer.fingerprint(), self.pictures.classes)
            model = load(path).to(self.machine.device)
            look_at_samples(self.folder, model, self.pictures, self.held_out, self.config.reading)
        ranks.wait()

    def codes(self, tokenizer: Tokenizer, split: str) -> CodeStore:
        """The store of a split's codes, made by the first rank unless it is there already."""
        path = self.folder.path / "codes" / f"{split}.safetensors"
        if ranks.is_first() and not _is_of(path, tokenizer):
            pictures = self.pictures if split == "train" else self.held_out
            views = self.config.data.views if split == "train" else 1
            tokenizer = tokenizer.to(self.machine.device)
            varied = views, self.augment(), self.config.seed
            condition = encode_condition(tokenizer, pictures, self.config, *varied)
            encode(tokenizer, pictures, *varied, condition=condition).save(path)
        ranks.wait()
        return CodeStore.load(path, tokenizer.fingerprint())


def _tokenizer_task(tokenizer: Tokenizer) -> Autoencoding:
    return (AdversarialTask if tokenizer.config.adversarial.weight else TokenizerTask)(tokenizer)


def _is_of(path: Path, tokenizer: Tokenizer) -> bool:
    """Whether the store of codes is whole and this tokenizer's."""
    try:
        CodeStore.load(path, tokenizer.fingerprint())
    except UserError:
        return False
    return True


def _fitting(recipe: TokenizerConfig, changes: dict[str, Any]) -> TokenizerConfig:
    """The recipe's tokenizer without options that a quantizer asked for in place of its own does not know."""
    name = changes.get("tokenizer.quantizer", recipe.quantizer)
    known = options_of(lookup(QUANTIZERS, "quantizer", name))
    kept = {option: value for option, value in recipe.quantizer_options.items() if option in known}
    return dataclasses.replace(recipe, quantizer_options=kept)


def _check(config: RunConfig, pictures: Pictures) -> None:
    """Raises what is wrong with either stage before any time is spent on the first."""
    with torch.random.fork_rng():
        tokenizer = Tokenizer(config.tokenizer)
        tokenizer.check(torch.empty(0, pictures.channels, pictures.size, pictures.size))
        if tokenizer.quantizer.sizes:
            text = vocabulary(config.prior, pictures)
            build_prior(config.prior, tokenizer, pictures.size, len(pictures.classes), text)
            check_condition(pictures, config)


def validation_codes(store: CodeStore, batch: int) -> list[data.CodeBatch]:
    """The held-out batches that validation sees."""
    parts = torch.arange(min(len(store), VALIDATION_PICTURES)).split(batch)
    return [store.batch(i) for i in parts]
