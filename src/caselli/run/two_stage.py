"""Runs of two stages: a tokenizer, then a prior over its codes."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from caselli import ranks
from caselli.data import CodeShards, CodeStore, Pictures, spread, to_float
from caselli.errors import lookup
from caselli.evaluate import (
    evaluate_model,
    perceptual_distance,
)
from caselli.figures import Figure
from caselli.files import write_text
from caselli.model import (
    Model,
    build_prior,
    holds_decoder,
    load,
    load_tokenizer,
    load_unrefined,
    save_decoder,
    save_tokenizer,
)
from caselli.plain import flatten, options_of, override
from caselli.prior import PriorConfig
from caselli.quantizer import QUANTIZERS
from caselli.run import old_pixels
from caselli.run.auto import STAGES, TEXT, Budget, auto, plan
from caselli.run.coding import OWNER, expect_streamable, stored_codes, streamed_codes
from caselli.run.conditions import check_condition, vocabulary
from caselli.run.folder import RunFolder
from caselli.run.kind import Kind, Stage
from caselli.run.pictures import Data, open_split
from caselli.run.prior_stage import GuideStage, PriorStage, expect_guidable
from caselli.run.summary import look_at_tokenizer
from caselli.run.two_stage_config import TwoStageConfig
from caselli.run.two_stage_recipes import SHARES, TWO_STAGE_RECIPES, TWO_STAGES
from caselli.shapes import Float, Tensor
from caselli.tokenizer import AdversarialTask, RefiningTask, Tokenizer, TokenizerTask
from caselli.tokenizer.autoencoding import Autoencoding

DRAWN_SEED = 1_000_000_000
"""Seed of the first picture drawn for the decoder, far from those that users and judges draw with."""
MEASURED, MEASURED_AT_ONCE = 3072, 256
"""Real pictures whose moments the decoder's are compared with, at most, and in a batch."""


class TokenizerStage(Stage):
    """The first stage: pictures become codes."""

    product = results = "tokenizer"
    figures = AdversarialTask.figures | {
        "compression_ratio": Figure("compression ratio", ",.1f", "to 1", section="Bits", key=True)
    }
    training = "training.tokenizer"

    def task(self) -> Autoencoding:
        run = self.run
        with run.seeded():
            tokenizer = Tokenizer(run.config.tokenizer)
            kind = AdversarialTask if tokenizer.config.adversarial.weight else TokenizerTask
            task = kind(tokenizer)
        size = run.data.pictures.size
        for words in (str(tokenizer.report((size, size))), *task.words()):
            self.log.say(words)
        return task

    def save(self, task: Autoencoding) -> None:
        save_tokenizer(task.tokenizer, self.run.folder.path, self.run.data.pictures.size)

    def look(self) -> None:
        tokenizer, _ = load_tokenizer(self.run.folder.path)
        look_at_tokenizer(self.run.folder, tokenizer.to(self.run.machine.device), self.run.data.held_out)


class DecoderStage(Stage):
    """The last stage: the decoder, trained further on what the prior draws."""

    product = "decoder"
    training = "training.decoder"
    results = "refinement"
    figures = RefiningTask.figures

    def is_done(self) -> bool:
        """True where the decoder is trained, of the tokenizer as it is now."""
        return super().is_done() and holds_decoder(self.run.folder.path)

    def task(self) -> RefiningTask:
        self._forget_others()
        run, model = self.run, load_unrefined(self.run.folder.path).to(self.run.machine.device)
        config, pictures = run.config.refinement, run.data.pictures
        drawn = model.drawn_codes(
            pictures.subset(spread(len(pictures), config.drawn)), seed=DRAWN_SEED + run.config.seed
        )
        moments = config.distance()
        with run.machine.autocast():
            moments.measure(self._real(pictures))
        by = (
            " and ".join(config.teachers())
            or "values and slopes; pip install 'caselli[eyes]' brings better eyes"
        )
        self.log.say(f"{len(drawn)} pictures' codes drawn; sets are compared by the moments of {by}")
        with run.seeded():
            return RefiningTask(model.tokenizer, moments, config.weight, drawn)

    def rehearsed(self) -> RehearsedDecoderStage:
        return RehearsedDecoderStage(self.run)

    def _forget_others(self) -> None:
        """Removes checkpoints that hold a tokenizer from before it was trained on."""
        folder, place = self.run.folder.path, self.run.folder.path / "checkpoints" / self.name
        note, owner = place / OWNER, load_tokenizer(folder)[0].fingerprint()
        is_other = self.has_result() and not holds_decoder(folder, owner)
        if note.exists():
            is_other = note.read_text(encoding="utf-8") != owner
        ranks.wait()  # all have looked before anything is removed
        if ranks.is_first():
            if is_other and place.exists():
                shutil.rmtree(place)
                self.log.rewind(0)
                self.log.say("begins anew, as its tokenizer was trained on")
            place.mkdir(parents=True, exist_ok=True)
            write_text(note, owner)
        ranks.wait()

    def _real(self, pictures: Pictures) -> Iterator[Float[Tensor, "B C H W"]]:
        """Real pictures, batch after batch."""
        indices = spread(len(pictures), MEASURED)
        # parts of one size, as a few pictures would count as much as many
        for part in indices.tensor_split(math.ceil(len(indices) / MEASURED_AT_ONCE)):
            yield to_float(pictures.read(part)).to(self.run.machine.device)

    def save(self, task: RefiningTask) -> None:
        save_decoder(task.tokenizer, self.run.folder.path, self.run.config.refinement.teachers())

    def look(self) -> None:
        """Looks at the samples again, with the new decoder."""
        PriorStage(self.run).look()
        self.run.folder.add_results(refinement={"drawn": self.run.config.refinement.drawn})


class RehearsedDecoderStage(DecoderStage):
    """The last stage with an untrained tokenizer and a single drawn picture, where a run is only planned."""

    def task(self) -> RefiningTask:
        config, pictures = self.run.config.refinement, self.run.data.pictures
        tokenizer, moments = Tokenizer(self.run.config.tokenizer), config.distance()
        x = torch.zeros(2, pictures.channels, pictures.size, pictures.size)
        moments.measure([x])
        return RefiningTask(tokenizer, moments, config.weight, tokenizer.eval().encode(x))


class TwoStage(Kind):
    """A tokenizer, then a prior over its codes; where the recipe has it, the decoder again."""

    name = "two_stage"
    config_kind = TwoStageConfig
    recipes = {"auto": auto, **TWO_STAGE_RECIPES}
    stages = (TokenizerStage, PriorStage, DecoderStage, GuideStage)
    settled = Kind.settled | {
        "tokenizer.size": lambda data: data.pictures.size,
        "tokenizer.channels": lambda data: data.pictures.channels,
    }

    @classmethod
    def stage_shares(cls, recipe: str) -> dict[type[Stage], float]:
        return dict(zip(cls.stages, SHARES.get(recipe, TWO_STAGES), strict=False))

    @classmethod
    def shared_out(cls, config: TwoStageConfig, budget: dict[str, Any]) -> dict[str, Any]:
        minutes = {f"training.{stage}.minutes" for stage in STAGES}
        if config.recipe != "auto" or budget.keys() != minutes:
            return budget
        fields = flatten(config)
        return {name: fields[name] for name in budget}

    @classmethod
    def shared_again(cls, before: TwoStageConfig, budget: dict[str, Any]) -> dict[str, Any]:
        minutes = {f"training.{stage}.minutes" for stage in STAGES}
        if before.recipe != "auto" or budget.keys() != minutes:
            return budget
        own, total = {name: flatten(before)[name] for name in budget}, sum(budget.values())
        if None in own.values():
            return budget
        had = sum(own.values())
        return own if math.isclose(total, had) else {name: part * total / had for name, part in own.items()}

    @classmethod
    def plan(cls, config: TwoStageConfig, data: Data) -> list[str]:
        if config.recipe != "auto" or config.training.prior.minutes is None:
            return []
        return plan(config, data, Budget.of(flatten(config)))

    @classmethod
    def config_in(cls, folder: RunFolder) -> TwoStageConfig:
        if old_pixels.is_old(folder):
            return override(TwoStageConfig(), old_pixels.config_of(folder.describe()["config"]))
        return super().config_in(folder)

    @classmethod
    def start(cls, recipe: str, data: Data, changes: Mapping[str, Any]) -> TwoStageConfig:
        """The recipe's configuration, without what a quantizer or a prior of another kind that was asked for
        does not know."""
        if recipe == "auto":
            guided = not _asks_for_other(PriorConfig(), changes, "kind", "condition_picture")
            config = auto(data, Budget.of(changes), changes.get("prior.text", TEXT), guided)
        else:
            config = super().start(recipe, data, changes)
        if changes.get("data.stream"):
            config = override(config, {"data.views": 1})
        tokenizer = config.tokenizer
        name = changes.get("tokenizer.quantizer", tokenizer.quantizer)
        known = options_of(lookup(QUANTIZERS, "quantizer", name))
        fitting = {name: value for name, value in tokenizer.quantizer_options.items() if name in known}
        tokenizer, prior = dataclasses.replace(tokenizer, quantizer_options=fitting), config.prior
        if _asks_for_other(prior, changes, "kind", "mixer"):
            prior = dataclasses.replace(prior, mixer_options={})
        return dataclasses.replace(config, tokenizer=tokenizer, prior=prior)

    @classmethod
    def check(cls, config: TwoStageConfig, data: Data) -> None:
        pictures = data.pictures
        if config.training.early_guide:
            expect_guidable(config.prior)
        if config.data.stream:
            expect_streamable(config)
        with torch.random.fork_rng():
            tokenizer = Tokenizer(config.tokenizer)
            tokenizer.check(torch.empty(0, pictures.channels, pictures.size, pictures.size))
            if tokenizer.quantizer.sizes:
                text = vocabulary(config.prior, pictures)
                build_prior(config.prior, tokenizer, pictures.size, len(pictures.classes), text)
                check_condition(pictures, config)

    @classmethod
    def load(cls, folder: RunFolder) -> Model:
        return old_pixels.load_old(folder) if old_pixels.is_old(folder) else load(folder.path)

    @classmethod
    def evaluate(cls, trained: Model, source: str, split: str, lpips: str | None = None) -> dict[str, Any]:
        distance, pictures = perceptual_distance(lpips), open_split(trained, source, split)
        if isinstance(distance, nn.Module):
            distance = distance.to(trained.device)
        figures = dataclasses.asdict(evaluate_model(trained, pictures, distance=distance))
        del figures["code_counts"]
        return figures

    def codes(self, tokenizer: Tokenizer, split: str) -> CodeStore | CodeShards:
        """The codes of a split, made by all ranks unless they are there already; of pictures that are
        streamed, in shards."""
        if split == "train" and self.config.data.stream:
            return streamed_codes(self, tokenizer)
        return stored_codes(self, tokenizer, split)


def _asks_for_other(prior: PriorConfig, changes: Mapping[str, Any], *names: str) -> bool:
    """True where another value of one of a prior's fields was asked for."""
    own = {name: getattr(prior, name) for name in names}
    return any(changes.get(f"prior.{name}", value) != value for name, value in own.items())
