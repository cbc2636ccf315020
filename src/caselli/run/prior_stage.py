"""The stages of a run that train priors over its tokenizer's codes: the prior, and a guide."""

from __future__ import annotations

import copy
import dataclasses
import math
from functools import cached_property
from typing import Any

import torch

from caselli.data import CodeBatch, CodeStore
from caselli.errors import UserError
from caselli.evaluate import Copies, Evaluation, Readability, SetComparison
from caselli.figures import Figure, figures_of
from caselli.model import build_prior, condition_size, grid_of, load, load_tokenizer, save_prior
from caselli.prior import Prior, PriorConfig, PriorTask, fold, share
from caselli.run.conditions import vocabulary
from caselli.run.kind import Stage
from caselli.run.summary import look_at_samples
from caselli.run.tune_config import Tuned
from caselli.run.two_stage_recipes import EARLY_GUIDANCE
from caselli.tokenizer import Tokenizer
from caselli.weights import read_description

GUIDANCE = 1.5
"""Guidance by a prior that was trained as a guide; see docs/race.md."""
EARLIEST = 150
"""Steps below which a prior is too weak a guide: labels are read less often than without; see entries 45 and
106 of docs/race.md."""
FORGOTTEN = 0.9
"""Share of the guide's training samples that have no condition; it is asked without one."""


def expect_guidable(prior: PriorConfig) -> None:
    """Raises a `UserError` for a prior that no other one can guide."""
    if prior.kind != "autoregressive":
        raise UserError(
            f"a prior of kind {prior.kind!r} was given a guide",
            "an autoregressive one was expected",
            "leave the guide out: --training.early_guide 0",
        )


class PriorStage(Stage):
    """The second stage: a distribution over the codes."""

    product = "prior"
    training = "training.prior"
    augments = False
    results = "evaluation"
    figures = figures_of(Evaluation) | PriorTask.figures | figures_of(Readability) | figures_of(SetComparison)
    figures |= figures_of(Copies) | figures_of(Tuned)
    figures |= {"tokens_per_second": Figure("codes sampled per second", ",.0f")}

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The first stage's result."""
        path = self.run.folder.path
        if not (path / "tokenizer.json").exists():
            raise UserError(
                f"{path} has no tokenizer yet",
                "the first stage was expected to be done",
                "train with --stage both",
            )
        return load_tokenizer(path)[0]

    def is_done(self) -> bool:
        """True where the prior is trained, over the codes of the tokenizer as it is now."""
        if not super().is_done():
            return False
        described = read_description(self.run.folder.path / self.product)
        return described["tokenizer"] == self.tokenizer.fingerprint()

    @property
    def early(self) -> float:
        return self.run.config.training.early_guide

    def design(self) -> PriorConfig:
        """The configuration of the prior."""
        return self.run.config.prior

    def task(self) -> PriorTask:
        run, tokenizer, pictures, config = self.run, self.tokenizer, self.run.data.pictures, self.design()
        with run.seeded():
            text = vocabulary(config, pictures)
            prior, order = build_prior(config, tokenizer, pictures.size, len(pictures.classes), text)
            if config.code_vectors:
                share(prior, tokenizer.quantizer)
        self.announce(prior, f"{prior.alphabet.length} codes a picture, ")
        return PriorTask(prior, order, grid_of(tokenizer, pictures.size))

    def rehearsed(self) -> PriorStage:
        self.tokenizer = Tokenizer(self.run.config.tokenizer)
        return self

    def example(self, count: int) -> CodeBatch:
        run, config = self.run, self.run.config.prior
        shape = self.tokenizer.code_shape((run.data.pictures.size,) * 2)
        books = len(self.tokenizer.quantizer.sizes)
        codes = torch.zeros(count, *(books,) * (books > 1), *shape, dtype=torch.int64)
        other = condition_size(config, run.data.pictures.size)
        condition = None
        if other:
            length = math.prod(self.tokenizer.code_shape((other, other))) * books
            condition = torch.zeros(count, length, dtype=torch.int64)
        labels = torch.zeros(count, dtype=torch.int64) if run.data.classes else None
        captions = run.data.pictures.captions and ("",) * count
        return CodeBatch(codes, labels, captions, torch.arange(count), condition)

    def sets(self) -> tuple[CodeStore, CodeStore]:
        return self.run.codes(self.tokenizer, "train"), self.run.codes(self.tokenizer, "held_out")

    def save(self, task: PriorTask) -> None:
        self._save(task.prior, self.product)

    def save_early(self, task: PriorTask, state: dict[str, Any]) -> None:
        """Writes the prior as it was then as its guide, unless it had too few steps."""
        if state["step"] < EARLIEST:
            self.log.say(f"no guide of its own, as that would be of {state['step']} steps")
            return
        young = copy.deepcopy(task)
        young.load_state_dict(state["task"])
        own = young.prior.config.guidance
        strength = EARLY_GUIDANCE if own == 1 else own
        young.prior.config = dataclasses.replace(young.prior.config, guidance=strength)
        self._save(young.prior, "early")
        self.log.say(f"drawn with its own state after {state['step']} steps as a guide")

    def _save(self, prior: Prior, name: str) -> None:
        fold(prior)
        fingerprint, classes = self.tokenizer.fingerprint(), self.run.data.classes
        save_prior(prior, self.run.folder.path, fingerprint, classes, name=name)

    def look(self) -> None:
        run = self.run
        model = load(run.folder.path).to(run.machine.device)
        look_at_samples(run.folder, model, run.data.pictures, run.data.held_out, run.config.reading)


class GuideStage(PriorStage):
    """A weaker prior, trained for a shorter time, that the run's prior is led away from; see
    `caselli.sampling.GuidedEngine`."""

    product = results = "guide"
    training = "training.guide"
    early = 0.0
    figures = PriorTask.figures

    def design(self) -> PriorConfig:
        own = self.run.config.prior
        expect_guidable(own)
        shares = dict.fromkeys(("label_dropout", "text_dropout", "picture_dropout"), FORGOTTEN)
        return dataclasses.replace(own, guidance=GUIDANCE, guidance_schedule="constant", **shares)

    def sets(self) -> tuple[CodeStore, CodeStore]:
        if not (self.run.folder.path / "prior.json").exists():
            raise UserError(f"{self.run.folder.path} has no prior yet", "a run with a prior was expected")
        return super().sets()

    def look(self) -> None:
        """Looks at the samples again, as they are drawn with the guide."""
        self.run.folder.add_results(guide={"guidance": GUIDANCE})
        PriorStage(self.run).look()
