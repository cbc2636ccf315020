"""A run's tokenizer made smaller."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from caselli.data import Batches
from caselli.engine import Log, Task
from caselli.engine.compression import compression_of
from caselli.model import save_tokenizer
from caselli.run.opening import validation_batches
from caselli.run.slim_stage import MEASURED, SlimStage, note_narrowed, teacher_of
from caselli.slim import DecoderDistillation, Loss, leave_zeros_out, quantise, with_smaller_decoder
from caselli.tokenizer import Tokenizer


class SlimTokenizer(SlimStage):
    """The decoder pruned or distilled, or encoder and decoder quantised; the decoder alone is trained, so
    that the codes stay what they are."""

    name = "tokenizer"

    def compressed(self, log: Log) -> Tokenizer:
        tokenizer, config = copy.deepcopy(self.before.tokenizer), self.config
        if config.quantise:
            quantise(tokenizer, config.quantise, config.activations)
        elif config.prune:
            self.prune(tokenizer.decoder, self._losses(tokenizer), log)
            _note_decoder(tokenizer)
        else:
            tokenizer = with_smaller_decoder(tokenizer, config.distil_decoder)
            _note_decoder(tokenizer)
        note_narrowed(tokenizer, Tokenizer(tokenizer.config))
        return tokenizer

    def save(self, network: Tokenizer) -> None:
        save_tokenizer(network, self.path, self.before.size)

    def held(self, network: Tokenizer) -> nn.Module:
        return network.decoder

    def training(self, network: Tokenizer, batch: int) -> tuple[Task, Any, Sequence[Any]]:
        task = DecoderDistillation(network, teacher_of(self.before.tokenizer))
        run = self.run
        batches = Batches(run.pictures, batch, augment=run.augment(), **self.shares)
        return task, batches, validation_batches(run.held_out, batch)

    def trained(self, task: Task) -> Tokenizer:
        tokenizer = task.tokenizer
        if self.config.quantise:
            quantise(tokenizer, self.config.quantise, self.config.activations)
        elif self.config.prune:
            leave_zeros_out(tokenizer.decoder)
            _note_decoder(tokenizer)
        return tokenizer

    def _losses(self, tokenizer: Tokenizer) -> list[Loss]:
        task, pictures = DecoderDistillation(tokenizer, teacher_of(tokenizer), data=1.0), self.run.pictures
        count, size = MEASURED
        parts = torch.arange(min(count * size, len(pictures))).split(size)
        return [lambda p=p: task(pictures.batch(p), 0).total for p in parts]


def _note_decoder(tokenizer: Tokenizer) -> None:
    """What is noted in the decoder, noted in the tokenizer."""
    old = compression_of(tokenizer)
    packed = {name: how for name, how in old.packed.items() if not name.startswith("decoder.")}
    packed |= {f"decoder.{name}": how for name, how in compression_of(tokenizer.decoder).packed.items()}
    tokenizer.compression = dataclasses.replace(old, packed=packed)
