"""A tokenizer's decoder that learns from a better one; the codes stay as they are."""

from __future__ import annotations

import copy
import dataclasses

import torch

from caselli.engine.task import Losses
from caselli.errors import UserError
from caselli.layer import Borrowed, count_parameters
from caselli.quantizer.base import widened
from caselli.tokenizer import Tokenizer
from caselli.tokenizer.autoencoding import Autoencoding


class DecoderDistillation(Autoencoding):
    r"""Trains the decoder alone, by what the teacher makes of the same codes and by the pictures.

    .. math:: (1 - \alpha)\,\langle (d(z) - d'(z))^2 \rangle + \alpha\, D\big(d(z), x\big), \qquad
        z = q(e(x))

    with d′ the teacher's decoder, e the encoder, q the quantizer, and D the tokenizer's own distortion of the
    picture x.

    Arguments:
        tokenizer: the student; its encoder and quantizer are the teacher's, and stay.
        teacher: the tokenizer before it was made smaller.
        data: α, the pictures' share.

    Source: Hinton et al. 2015, Distilling the Knowledge in a Neural Network.
    """

    def __init__(self, tokenizer: Tokenizer, teacher: Tokenizer, data: float = 0.5) -> None:
        super().__init__(tokenizer)
        for part in (tokenizer.encoder, tokenizer.quantizer):
            part.requires_grad_(False)
        self.teacher, self.data = Borrowed(teacher.decoder), data

    def forward(self, batch, step: int) -> Losses:
        self.tokenizer.encoder.eval()
        self.tokenizer.quantizer.eval()  # its codebook is not to follow the training's averages
        with torch.no_grad():
            quantized = self.tokenizer.quantizer(self.tokenizer.encoder(batch.pictures))
            wanted = widened(self.teacher.on(batch.pictures.device)(quantized.latents))
        reconstruction = widened(self.tokenizer.decoder(quantized.latents))
        distorted = self.distortion(reconstruction, batch.pictures)
        nearness = (reconstruction - wanted).square().mean()
        loss = (1 - self.data) * nearness + self.data * distorted.loss
        return Losses(loss, self._figures(distorted, quantized) | {"from_teacher": nearness.detach()})


def with_smaller_decoder(tokenizer: Tokenizer, share: float) -> Tokenizer:
    """A tokenizer with the same encoder and quantizer, and a fresh decoder of a share of the channels.

    Errors: `UserError` for a share that leaves the decoder as it is.
    """
    config = tokenizer.config
    width = max(8, round(config.width * share / 8) * 8)
    options = dict(config.architecture_options)
    if "model_width" in options or config.architecture == "vit":
        whole, heads = tokenizer.architecture.model_width, tokenizer.architecture.heads
        options["model_width"] = max(heads, round(whole * share / heads) * heads)
    small = Tokenizer(dataclasses.replace(config, width=width, architecture_options=options))
    if count_parameters(small.decoder) >= count_parameters(tokenizer.decoder):
        raise UserError(
            f"a share of {share} of the decoder's channels was asked for",
            f"one that makes it smaller than {config.width} channels was expected",
        )
    if small.decoder.state_dict().keys() != tokenizer.decoder.state_dict().keys():
        raise UserError(
            f"a share of {share} of the decoder's channels was asked for",
            f"one whose {width} channels need the same layers as {config.width} was expected",
            "choose a share a little larger or smaller",
        )
    student = copy.deepcopy(tokenizer)
    student.decoder = small.decoder
    return student.eval()
