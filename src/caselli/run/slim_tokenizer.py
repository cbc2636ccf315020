"""A run's tokenizer made smaller."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import nn

from caselli.data import Pictures
from caselli.engine import Log, Task
from caselli.model import save_tokenizer
from caselli.run.slim_stage import MEASURED, SlimStage, teacher_of, with_narrowed
from caselli.slim import DecoderDistillation, Loss, leave_zeros_out, quantise, with_smaller_decoder
from caselli.tokenizer import Tokenizer
from caselli.weights import UNCOMPRESSED, Compression, read_compression


class SlimTokenizer(SlimStage):
    """The decoder pruned or distilled, or encoder and decoder quantised; the decoder alone is trained, so
    that the codes stay what they are."""

    name, augments = "tokenizer", True

    def compressed(self, log: Log) -> tuple[Tokenizer, Compression]:
        tokenizer, config = copy.deepcopy(self.before.tokenizer), self.config
        made = read_compression(self.old / "tokenizer")
        tokenizer.stamp = ""  # other weights may give other codes
        if config.quantise:
            made = quantise(tokenizer, config.quantise, config.activations)
        elif config.prune:
            self.prune(tokenizer.decoder, self._losses(tokenizer), log)
            made = _with_decoder(made, leave_zeros_out(tokenizer.decoder))
        else:
            tokenizer = with_smaller_decoder(tokenizer, config.distil_decoder)
            made = _with_decoder(made, UNCOMPRESSED)
        return tokenizer, with_narrowed(made, tokenizer, Tokenizer(tokenizer.config))

    def save(self, network: Tokenizer, compression: Compression) -> None:
        save_tokenizer(network, self.path, self.before.size, compression, self.before.decoder_teachers)

    def held(self, network: Tokenizer) -> nn.Module:
        return network.decoder

    def task(self, network: Tokenizer) -> Task:
        return DecoderDistillation(network, teacher_of(self.before.tokenizer))

    def sets(self) -> tuple[Pictures, Pictures]:
        return self.run.data.train, self.run.data.held_out

    def trained(self, task: DecoderDistillation) -> Tokenizer:
        return task.tokenizer

    def sparse(self, network: Tokenizer, compression: Compression) -> Compression:
        return _with_decoder(compression, leave_zeros_out(network.decoder))

    def _losses(self, tokenizer: Tokenizer) -> list[Loss]:
        task, pictures = DecoderDistillation(tokenizer, teacher_of(tokenizer), data=1.0), self.run.data.train
        count, size = MEASURED
        parts = torch.arange(min(count * size, len(pictures))).split(size)
        return [lambda p=p: task(pictures.batch(p), 0).total for p in parts]


def _with_decoder(tokenizer: Compression, decoder: Compression) -> Compression:
    """A tokenizer's compression with its decoder packed another way."""
    packed = {name: how for name, how in tokenizer.packed.items() if not name.startswith("decoder.")}
    packed |= {f"decoder.{name}": how for name, how in decoder.packed.items()}
    return dataclasses.replace(tokenizer, packed=packed)
