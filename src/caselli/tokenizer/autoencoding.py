"""Shared parts of all ways of training a tokenizer: reconstruction, figures, diagnostics."""

from __future__ import annotations

from abc import ABC
from typing import Any

import torch
from torch import nn

from caselli import ranks
from caselli.engine import Task
from caselli.figures import Figure
from caselli.quantizer.base import Quantized, perplexity, widened
from caselli.shapes import Float, Tensor
from caselli.tokenizer.diagnostics import LARGEST, Diagnostics
from caselli.tokenizer.loss import TOLD, Distorted, Distortion
from caselli.tokenizer.semantic import SemanticTarget
from caselli.tokenizer.tokenizer import Tokenizer

SHOWN = 8
"""Pictures that a validation shows beside their reconstructions."""


class Autoencoding(Task, ABC):
    """Autoencoding through the quantizer; a way of training extends this class, is final, and gives
    `forward`.

    Arguments:
        tokenizer: what is trained, by the weights and settings of its own configuration.
    """

    figures = Task.figures | {
        "psnr": Figure("PSNR", ".2f", "dB", section="Training", key=True),
        "perceptual": Figure("perceptual distance", ".3f", section="Training"),
        "semantic": Figure("what the codes fail to tell of the maps", ".3f", section="Training"),
        "codebook_use": Figure("codebook use", ".1%", section="Codebook", key=True),
        "perplexity": Figure("perplexity of the codes", ",.0f", section="Codebook"),
        "dead": Figure("dead codes", ".1%", section="Codebook"),
    }

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.distortion = Distortion(tokenizer.config)
        self.semantic: SemanticTarget | None = None
        self.diagnostics = Diagnostics(tokenizer.config, tokenizer.quantizer)
        self.register_load_state_dict_pre_hook(_renamed)
        self.counts: list[Tensor] = []
        self.seen: list[Tensor] = []

    def validate(self, batch) -> dict[str, Tensor]:
        reconstruction, quantized = self.tokenizer(batch.pictures)
        distorted = self.distortion(widened(reconstruction).clamp(-1, 1), batch.pictures)
        self._count(quantized.codes)
        if not self.seen:
            self.seen = [batch.pictures[:SHOWN], widened(reconstruction[:SHOWN]).clamp(-1, 1)]
        figures = {"loss": distorted.loss, "psnr": psnr_of(distorted.squared)}
        return figures if distorted.perceptual is None else figures | {"perceptual": distorted.perceptual}

    def compiled(self) -> list[nn.Module]:
        return [self.tokenizer.encoder, self.tokenizer.decoder]

    def views(self):
        """The first held-out pictures, and below them what has become of them."""
        seen, self.seen = self.seen, []
        return seen

    def finish(self) -> dict[str, float]:
        if not self.counts:
            return {}
        counts = ranks.total(torch.stack(self.counts).sum(0))
        self.counts = []
        return {
            "codebook_use": (counts > 0).float().mean().item(),
            "perplexity": perplexity(counts.float()).item(),
        }

    def advise(self) -> list[str]:
        return self.diagnostics.advise()

    def words(self) -> list[str]:
        """Sentences for the log before training."""
        return self.distortion.words()

    def _told(self, quantized: Quantized, distorted: Distorted) -> tuple[Tensor | float, dict[str, Tensor]]:
        """The semantic term with its weight, and its figure; zero without such a term."""
        if self.semantic is None:
            return 0.0, {}
        term = self.semantic(quantized.latents, distorted.maps[-TOLD:])
        return self.tokenizer.config.semantic * term, {"semantic": term.detach()}

    def _figures(self, distorted: Distorted, quantized: Quantized) -> dict[str, Tensor]:
        """Figures of a training step."""
        return self._distances(distorted) | {"quantizer_loss": quantized.loss.detach(), **quantized.metrics}

    def _distances(self, distorted: Distorted) -> dict[str, Tensor]:
        """Figures of the reconstructions of a training step."""
        figures = {"psnr": psnr_of(distorted.squared)}
        return figures if distorted.perceptual is None else figures | {"perceptual": distorted.perceptual}

    def _count(self, codes: Tensor) -> None:
        sizes = self.tokenizer.quantizer.sizes
        if len(sizes) == 1 and sizes[0] <= LARGEST:
            self.counts.append(torch.bincount(codes.flatten(), minlength=sizes[0]))


def _renamed(task: Task, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Gives the diagnostics in checkpoints of earlier versions, there the doctor, their name."""
    for name in [name for name in state if name.startswith(f"{prefix}doctor.")]:
        state[f"{prefix}diagnostics.{name.removeprefix(f'{prefix}doctor.')}"] = state.pop(name)


def psnr_of(squared: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Peak signal-to-noise ratio in decibels of a mean squared error on [−1, 1].

    Example:
        >>> psnr_of(torch.tensor(0.04))
        tensor(20.)
    """
    return 10 * torch.log10(4 / squared.clamp_min(1e-12))
