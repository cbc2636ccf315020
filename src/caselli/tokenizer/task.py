"""Training a tokenizer: reconstruct, and keep the codes in use."""

from __future__ import annotations

import torch

from caselli.engine.task import Losses, Task
from caselli.quantizer.base import perplexity
from caselli.shapes import Tensor
from caselli.tokenizer.loss import multi_scale_loss
from caselli.tokenizer.tokenizer import Tokenizer


class TokenizerTask(Task):
    r"""Autoencoding through the quantizer.

    .. math:: \lambda_1 \langle|\hat x - x|\rangle + \lambda_2 \langle(\hat x - x)^2\rangle
        + \lambda_m L_{\text{multi-scale}}(\hat x, x) + L_{\text{quantizer}}

    with the weights of the tokenizer's config.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.counts: list[Tensor] = []

    def forward(self, batch, step: int) -> Losses:
        reconstruction, quantized = self.tokenizer(batch.pictures)
        distortion, squared = self._distortion(reconstruction.float(), batch.pictures)
        metrics = {"psnr": psnr_of(squared), "quantizer_loss": quantized.loss.detach(), **quantized.metrics}
        return Losses(distortion + quantized.loss, metrics)

    def validate(self, batch) -> dict[str, Tensor]:
        reconstruction, quantized = self.tokenizer(batch.pictures)
        distortion, squared = self._distortion(reconstruction.float().clamp(-1, 1), batch.pictures)
        self._count(quantized.codes)
        return {"loss": distortion, "psnr": psnr_of(squared)}

    def finish(self) -> dict[str, float]:
        if not self.counts:
            return {}
        counts = torch.stack(self.counts).sum(0)
        self.counts = []
        return {
            "codebook_use": (counts > 0).float().mean().item(),
            "perplexity": perplexity(counts.float()).item(),
        }

    def _count(self, codes: Tensor) -> None:
        sizes = self.tokenizer.quantizer.sizes
        if len(sizes) == 1:
            self.counts.append(torch.bincount(codes.flatten(), minlength=sizes[0]))

    def _distortion(self, reconstruction: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor]:
        config = self.tokenizer.config
        difference = reconstruction - pictures
        squared = difference.square().mean()
        loss = config.l2 * squared
        if config.l1:
            loss = loss + config.l1 * difference.abs().mean()
        if config.multi_scale:
            loss = loss + config.multi_scale * multi_scale_loss(reconstruction, pictures)
        return loss, squared.detach()


def psnr_of(squared: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels of a mean squared error on [−1, 1].

    Example:
        >>> psnr_of(torch.tensor(0.04))
        tensor(20.)
    """
    return 10 * torch.log10(4 / squared.clamp_min(1e-12))
