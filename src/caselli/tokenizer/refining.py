"""Training a decoder further on what a prior draws."""

from __future__ import annotations

import torch

from caselli.engine.task import Losses
from caselli.quantizer.base import widened
from caselli.shapes import Int, Tensor
from caselli.tokenizer.adversarial import Adversarial
from caselli.tokenizer.adversarial_config import AdversarialConfig
from caselli.tokenizer.tokenizer import Tokenizer


class RefiningTask(Adversarial):
    r"""The decoder alone, against a discriminator of what it makes of drawn codes and of real ones.

    .. math:: L_{\text{rec}}(G(c_x), x) + r\,w\,\lambda\,L_G\big(D(G(c_x)) \cup D(G(c))\big),
        \qquad c \sim p_\theta

    A decoder is trained on codes of real pictures, and then shown codes that a prior draws, with mistakes
    that it has never met. Here it meets them: half of each batch are codes drawn beforehand, which no picture
    belongs to, so that the discriminator alone judges them. Encoder and codebook stay as they are, and with
    them every code, the prior and its likelihood.

    Arguments:
        tokenizer: its decoder is trained, in place; its weights for distances count.
        config: the discriminator and its part in the training.
        drawn: codes drawn from the prior.

    Source: after Qiu, Li, Chen, Kuen, Xu, Gu, Luo, Raj, Lin, Savvides 2025, Image Tokenizer Needs
    Post-Training.
    """

    def __init__(self, tokenizer: Tokenizer, config: AdversarialConfig, drawn: Int[Tensor, "n *S"]) -> None:
        super().__init__(tokenizer, config)
        tokenizer.encoder.requires_grad_(False)
        tokenizer.quantizer.requires_grad_(False)
        self.register_buffer("drawn", drawn, persistent=False)

    def forward(self, batch, step: int) -> Losses:
        tokenizer, pictures = self.tokenizer, batch.pictures
        tokenizer.encoder.eval()  # what is not trained computes as it does for a user
        tokenizer.quantizer.eval()
        with torch.no_grad():
            chosen = torch.randint(len(self.drawn), (len(pictures),), device=pictures.device)
            codes = torch.cat([tokenizer.encode(pictures), self.drawn[chosen]])
            latents = widened(tokenizer.quantizer.decode(codes))
        made = tokenizer.decoder(latents)
        return self._losses(pictures, made, made.new_zeros(()), {}, step)
