"""The stages of fine-tuning: the tokenizer's decoder, then the prior."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable
from pathlib import Path

import torch

from caselli import ranks
from caselli.data import CodeStore
from caselli.engine import Log
from caselli.layer import count_parameters
from caselli.model import Adapter, Model, grid_of, grown, load_tokenizer, save_prior, save_tokenizer
from caselli.prior import Conditions, PriorTask, adapt, differences
from caselli.run.tune_config import TuneConfig
from caselli.run.two_stage import TwoStage
from caselli.sampling import best_engine, sample
from caselli.slim import DecoderDistillation, settle
from caselli.weights import UNCOMPRESSED

REPLAYED = 50_000
"""Seed of the first sample of the old run that is replayed."""
DRAWN = 64
"""Samples that are drawn at a time."""


def tune_tokenizer(run: TwoStage, before: Model, config: TuneConfig) -> None:
    """The tokenizer as it was, or with a decoder trained on the new pictures; codes stay what they are."""
    path = run.folder.path
    if (path / "tokenizer.json").exists():
        return
    tokenizer = copy.deepcopy(before.tokenizer)
    made = before.compressions.get("tokenizer", UNCOMPRESSED)
    if config.tokenizer == "decoder":
        made = dataclasses.replace(made, packed={}, activations="")  # trained weights leave the grid
        task = DecoderDistillation(tokenizer, before.tokenizer, data=1.0)
        sets = run.data.train, run.data.held_out
        tokenizer = run.fit(task, config.training(adapts=False), "tune_tokenizer", sets).tokenizer
    if ranks.is_first():
        save_tokenizer(tokenizer.cpu(), path, before.size, made, before.decoder_teachers)
    ranks.wait()


class TunePrior:
    """The prior, fine-tuned on the codes of the new pictures and on samples of its own.

    Arguments:
        run: the new one; its tokenizer is there.
        before: the old run's model.
        config: what is done.
    """

    def __init__(self, run: TwoStage, before: Model, config: TuneConfig) -> None:
        self.run, self.before, self.config = run, before, config
        self.path, self.log = run.folder.path, Log(run.folder.path, "tune")
        captions = run.data.pictures.captions
        text = before.require_prior().alphabet.text
        self.text = text if text is None or captions is None else text.grown(captions)
        self.classes = run.data.pictures.classes or ((config.label,) if config.label else ())
        self.model, self.added = grown(before, self.classes, self.text)

    def make(self) -> None:
        """Trains and writes the prior, and the adapter where there is one, unless that is done."""
        if (self.path / "prior.json").exists():
            return
        prior, config = self.model.require_prior(), self.config
        base = self.before.require_prior().fingerprint()
        with self.run.seeded():
            if config.rank:
                adapt(prior, config.rank, self.added)
        trained = sum(p.numel() for p in prior.parameters() if p.requires_grad)
        self.log.say(f"{trained:,} of {count_parameters(prior):,} parameters are trained")
        task = PriorTask(prior, self.model.order, grid_of(self.model.tokenizer, self.model.size))
        budget = config.training(adapts=config.rank > 0)
        task = self.run.fit(task, budget, "tune_prior", self.sets(), augments=False)
        if ranks.is_first():
            self._save(task, base)
            self.run.folder.add_results(tuned={"parameters_trained": trained})
        ranks.wait()

    def _save(self, task: PriorTask, base: str) -> None:
        task = task.cpu()
        if self.config.rank:
            matrices, rows = differences(task.prior)
            classes = self.model.classes[len(self.before.classes) :]
            old = getattr(self.before.prior.alphabet.text, "words", ())
            words = getattr(self.text, "words", ())[len(old) :]
            Adapter(base, classes, words, matrices, rows).save(self.path / Adapter.file)
            settle(task)
        tokenizer = load_tokenizer(self.path)[0].fingerprint()
        made = self.model.compressions["prior"]
        save_prior(task.prior, self.path, tokenizer, self.model.classes, made)

    def sets(self) -> tuple[CodeStore, CodeStore]:
        """The new pictures' codes with those of the old run's samples, and the new held-out ones."""
        train, held_out = (self.codes(split) for split in ("train", "held_out"))
        count = round(self.config.replay / (1 - self.config.replay) * len(train))
        old = self.replayed(count)
        return (train if old is None else joined_stores([train, old])), held_out

    def codes(self, split: str) -> CodeStore:
        """The codes of the new pictures, labelled as the new prior does."""
        store = self.run.codes(load_tokenizer(self.path)[0], split)
        return relabelled(store, self.model.classes, self.config.label)

    def replayed(self, count: int) -> CodeStore | None:
        """Samples of the old run, of its labels and captions in turn; None where it has another condition."""
        path = self.path / "codes" / "replay.safetensors"
        if not count or self.before.prior.config.condition_picture != "none":
            return None
        if ranks.is_first() and not path.exists():
            self.log.say(f"{count} samples of the old run are drawn, to be replayed")
            self.drawn(count, REPLAYED).save(path)
        ranks.wait()
        return CodeStore.load(path, None)

    def share_replayed(self) -> float:
        """Share of the training samples that were the old run's."""
        new, old = (self.path / "codes" / f"{name}.safetensors" for name in ("train", "replay"))
        counts = [len(CodeStore.load(path, None)) if path.exists() else 0 for path in (new, old)]
        return counts[1] / max(1, sum(counts))

    def drawn(self, count: int, seed: int) -> CodeStore:
        """Codes that the old run draws, picture i by seed + i; of each label in turn."""
        model, classes = self.before.to(self.run.machine.device), self.before.classes
        labels = torch.arange(count) % len(classes) if classes else torch.full((count,), -1)
        engine, seeds, codes = best_engine(model.prior)[0], list(range(seed, seed + count)), []
        for part in torch.arange(count).split(DRAWN):
            told = Conditions(labels[part]) if classes else None
            sequence = sample(engine, told, [seeds[i] for i in part.tolist()])
            codes.append(model.order.restore(sequence, model.grid).cpu())
        return CodeStore(
            torch.cat(codes),
            labels=labels if self.model.classes else None,
            classes=self.model.classes,
            sizes=model.tokenizer.quantizer.sizes,
            captions=[""] * count if self.text is not None else None,
            tokenizer=model.tokenizer.fingerprint(),
            data="",
        )


def relabelled(store: CodeStore, classes: tuple[str, ...], label: str = "") -> CodeStore:
    """A store with its labels as numbers of other classes; −1 where one is none of them.

    Arguments:
        store: codes, with labels or without.
        classes: names of the other classes.
        label: the label of a store that has none.
    """
    number = {name: place for place, name in enumerate(classes)}
    if store.labels is None:
        labels = torch.full((len(store),), number.get(label, -1)) if classes else None
    else:
        labels = torch.tensor([number.get(name, -1) for name in store.classes])[store.labels]
    texts = {"captions": store.captions, "all_captions": store.all_captions}
    return _copy(store, store.codes, labels, classes, condition=store.condition, **texts)


def joined_stores(stores: Iterable[CodeStore]) -> CodeStore:
    """Stores of the same tokenizer and classes, one behind the other; without a caption it is empty."""
    stores = list(stores)
    first, codes = stores[0], torch.cat([store.codes for store in stores])
    labels = None if first.labels is None else torch.cat([store.labels for store in stores])
    texts = {}
    for name, nothing in (("captions", ""), ("all_captions", ("",))):
        if getattr(first, name) is not None:
            texts[name] = [text for s in stores for text in getattr(s, name) or [nothing] * len(s)]
    return _copy(first, codes, labels, first.classes, **texts)


def _copy(store: CodeStore, codes, labels, classes, **more) -> CodeStore:
    stamp = {"sizes": store.sizes, "tokenizer": store.tokenizer, "data": store.data}
    return CodeStore(codes, labels=labels, classes=classes, **stamp, **more)


def old_codes(run: Path, most: int) -> CodeStore | None:
    """Codes of the old run's held-out pictures, labelled; None where it has none any more."""
    path = run / "codes" / "held_out.safetensors"
    if not path.exists():
        return None
    stamp = load_tokenizer(run)[0].fingerprint()
    store = CodeStore.load(path, stamp)
    return store.subset(torch.arange(min(most, len(store))))
