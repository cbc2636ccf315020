"""Training a decoder further on what a prior draws."""

from __future__ import annotations

import torch

from caselli.engine.task import Losses
from caselli.features import MomentDistance
from caselli.figures import Figure
from caselli.quantizer.base import widened
from caselli.shapes import Int, Tensor
from caselli.tokenizer.autoencoding import Autoencoding
from caselli.tokenizer.tokenizer import Tokenizer


class RefiningTask(Autoencoding):
    r"""The decoder alone: drawn codes become pictures that, as a set, look like real ones.

    .. math:: L_{\text{rec}}(G(c_x), x) + w\, d\big(\{G(c)\}, \{x\}\big), \qquad c \sim p_\theta

    with d the distance of two sets by the moments of a network's maps. A decoder is trained on codes of real
    pictures, and then shown codes that a prior draws, with mistakes that it has never met. Here it meets
    them; no picture belongs to such codes, so the whole set is compared. Encoder and codebook stay as they
    are, and with them every code, the prior and its likelihood.

    Arguments:
        tokenizer: its decoder is trained, in place; its weights for distances count.
        moments: distance from real pictures, which it has measured.
        weight: w.
        drawn: codes drawn from the prior.

    Source: after Qiu, Li, Chen, Kuen, Xu, Gu, Luo, Raj, Lin, Savvides 2025, Image Tokenizer Needs
    Post-Training, which has a discriminator in place of d.
    """

    keeps_last = True
    figures = Autoencoding.figures | {
        "moment_distance": Figure("distance of drawn pictures' moments", ".3f", section="Training")
    }

    def __init__(
        self, tokenizer: Tokenizer, moments: MomentDistance, weight: float, drawn: Int[Tensor, "n *S"]
    ) -> None:
        super().__init__(tokenizer)
        tokenizer.encoder.requires_grad_(False)
        tokenizer.quantizer.requires_grad_(False)
        self.moments, self.weight = moments, weight
        self.register_buffer("drawn", drawn, persistent=False)

    def forward(self, batch, step: int) -> Losses:
        tokenizer, pictures = self.tokenizer, batch.pictures
        tokenizer.encoder.eval()  # what is not trained computes as it does for a user
        tokenizer.quantizer.eval()
        with torch.no_grad():
            # a quarter of the batch keeps the decoder near the pictures
            kept = pictures[: max(1, len(pictures) // 4)]
            count = max(1, len(pictures) - len(kept))
            chosen = torch.randint(len(self.drawn), (count,), device=pictures.device)
            codes = torch.cat([tokenizer.encode(kept), self.drawn[chosen]])
            latents = widened(tokenizer.quantizer.decode(codes))
        made = widened(tokenizer.decoder(latents))
        distorted = self.distortion(made[: len(kept)], kept)
        distance = self.moments(made[len(kept) :])
        figures = self._distances(distorted) | {"moment_distance": distance.detach()}
        return Losses(distorted.loss + self.weight * distance, figures)
