"""Training a tokenizer: reconstruct, and keep the codes in use."""

from __future__ import annotations

from caselli.engine.task import Losses
from caselli.quantizer.base import widened
from caselli.tokenizer.autoencoding import Autoencoding


class TokenizerTask(Autoencoding):
    """The distortion of the reconstruction, and the quantizer's own loss.

    Arguments:
        tokenizer: what is trained; `caselli.tokenizer.loss.Distortion` has the loss.
    """

    def forward(self, batch, step: int) -> Losses:
        self.diagnostics.correct()
        reconstruction, quantized = self.tokenizer(batch.pictures)
        distorted = self.distortion(widened(reconstruction), batch.pictures)
        figures = self._figures(distorted, quantized)
        self.diagnostics.note(figures, quantized.codes)
        return Losses(distorted.loss + quantized.loss, figures | self.diagnostics.figures())
