"""Training a tokenizer: reconstruct, and keep the codes in use."""

from __future__ import annotations

from caselli.engine.task import Losses
from caselli.quantizer.base import widened
from caselli.tokenizer.autoencoding import Autoencoding
from caselli.tokenizer.tokenizer import Tokenizer


class TokenizerTask(Autoencoding):
    """The distortion of the reconstruction, the quantizer's own loss, and what the codes are to tell.

    Arguments:
        tokenizer: what is trained; `caselli.tokenizer.loss.Distortion` has the loss.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer)
        self.semantic = self.distortion.semantic()

    def forward(self, batch, step: int) -> Losses:
        self.diagnostics.correct()
        reconstruction, quantized = self.tokenizer(batch.pictures)
        distorted = self.distortion(widened(reconstruction), batch.pictures)
        told, figures = self._told(quantized, distorted)
        figures |= self._figures(distorted, quantized)
        self.diagnostics.note(figures, quantized.codes)
        return Losses(distorted.loss + quantized.loss + told, figures | self.diagnostics.figures())
