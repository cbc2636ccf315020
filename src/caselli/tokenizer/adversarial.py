"""Training a tokenizer against a discriminator."""

from __future__ import annotations

import torch
from torch import nn

from caselli import ranks
from caselli.divergence import DIVERGENCES, R1, CriticDivergence
from caselli.engine.task import Losses, Part
from caselli.errors import UnknownName, lookup
from caselli.features import ProjectedDiscriminator
from caselli.figures import Figure
from caselli.layer import DISCRIMINATORS, Discriminator, LeCam, diff_augment
from caselli.ops import inject_gradient
from caselli.quantizer.base import widened
from caselli.shapes import Float, Tensor
from caselli.tokenizer.autoencoding import Autoencoding
from caselli.tokenizer.tokenizer import Tokenizer

CRITICS: dict[str, type[Discriminator]] = {**DISCRIMINATORS, "projected": ProjectedDiscriminator}
"""Discriminators that train a tokenizer, by name: those on pixels, and one on the maps of a network."""
EPSILON = 1e-4
"""Added to the adversarial gradient's norm, as published."""


class AdversarialTask(Autoencoding):
    r"""VQGAN: the reconstruction's loss and a discriminator's, both players in one step.

    .. math:: L_{\text{rec}} + L_{\text{quantizer}} + r\,w\,\lambda\,L_G(D(\hat x)), \qquad
        \lambda = \frac{\lVert\nabla_{\ell} L_{\text{rec}}\rVert}{\lVert\nabla_{\ell} L_G\rVert + 10^{-4}}

    with w the configured weight, r the ramp of its schedule, and ℓ the decoder's last matrix; λ is taken from
    gradients averaged over the ranks, clamped, and 1 unless `adaptive`. The discriminator judges the batch
    once. Its own loss is differentiated in its weights; the tokenizer's losses are differentiated at the
    reconstruction and their slope is carried to the tokenizer: so neither player gets the other's gradient,
    and nothing is computed twice.

    Before `start` the discriminator rests; in `warmup` it learns and does not count.

    Arguments:
        tokenizer: what is trained, by the weights and settings of its own configuration.

    Errors: `UnknownName` for an objective that trains no critic, or an unknown discriminator.

    Source: Esser, Rombach, Ommer 2021, Taming Transformers for High-Resolution Image Synthesis.
    """

    keeps_last = True
    figures = Autoencoding.figures | {
        "score_real": Figure("the discriminator's score of pictures", ".2f", section="Discriminator"),
        "score_fake": Figure("the discriminator's score of reconstructions", ".2f", section="Discriminator"),
        "discriminator_right": Figure(
            "places that the discriminator ranks rightly", ".1%", section="Discriminator"
        ),
        "discriminator_doubt": Figure(
            "the discriminator's loss, of what guessing gives", ".1%", section="Discriminator"
        ),
        "adversarial_weight": Figure("weight of the adversarial term", ".3f", section="Discriminator"),
    }

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer)
        self.semantic = self.distortion.semantic()
        self.config = tokenizer.config.adversarial
        self.objective = critic_objective(self.config.objective)
        kind = lookup(CRITICS, "discriminator", self.config.discriminator)
        options = self.config.discriminator_options
        built = kind(self.config.width, tokenizer.config.channels, **options)
        self.discriminator = self.objective.prepare(built)
        self.lecam = LeCam()
        self.slopes = R1(self.config.r1 * self.config.r1_every)

    def parts(self) -> list[Part]:
        parameters = list(self.discriminator.parameters())
        return [Part("discriminator", parameters, self.config.learning_rate, self.config.betas)]

    def forward(self, batch, step: int) -> Losses:
        self.diagnostics.correct()
        pictures = batch.pictures
        made, quantized = self.tokenizer(pictures)
        made = widened(made)
        shown = made.detach().requires_grad_()
        distorted = self.distortion(shown, pictures)
        (slope,) = torch.autograd.grad(distorted.loss, shown)
        told, figures = self._told(quantized, distorted)
        total = distorted.loss.detach() + quantized.loss + told
        figures |= self._figures(distorted, quantized)
        if self.config.learns(self.progress):
            judged, push, found = self._against(pictures, made, shown, slope, step)
            total, slope = total + judged, slope + push
            figures |= found
        else:  # every weight has a gradient in every step: ranks wait for all of them
            total = total + 0 * sum(p.sum() for p in self.discriminator.parameters())
        self.diagnostics.note(figures, quantized.codes)
        return Losses(total + inject_gradient(made, slope), figures | self.diagnostics.figures())

    def _against(
        self, pictures: Tensor, made: Tensor, shown: Tensor, slope: Tensor, step: int
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The discriminator's loss, the slope that its judgement adds at the reconstruction, and figures."""
        self.objective.constrain(self.discriminator)
        judged = self.objective.judge(self._scores, pictures, shown)
        real, fake, push = judged.real, judged.fake, judged.slope
        ratio = self._ratio(made, slope, push) if self.config.adaptive else push.new_ones(())
        due = (
            self.config.weight
            * self.config.counts(self.progress)
            * self.diagnostics.state.corrections.adversarial
        )
        weight = due * ratio
        loss = judged.critic_loss
        penalty = self._penalty(pictures, shown, real, fake, step)
        figures = {
            "score_real": real.mean(),
            "score_fake": fake.mean(),
            "discriminator_right": (real > fake).float().mean(),
            "discriminator_loss": loss,
            "discriminator_doubt": loss / chance_loss(self.objective, real),
            "adversarial_loss": judged.generator_loss,
            "adversarial_weight": weight,
            "gradient_ratio": ratio,
            "penalty": penalty,
        }
        figures = {name: value.detach() for name, value in figures.items()}
        return loss + penalty + (weight * judged.generator_loss).detach(), weight * push, figures

    def compiled(self) -> list[nn.Module]:
        """Not the decoder where its last matrix alone is asked for a gradient, with the graph kept."""
        return [self.tokenizer.encoder] if self.config.adaptive else super().compiled()

    def _scores(self, pictures: Tensor) -> Tensor:
        return widened(self.discriminator(diff_augment(pictures) if self.config.augment else pictures))

    def _ratio(self, made: Tensor, slope: Tensor, push: Tensor) -> Tensor:
        last = last_matrix(self.tokenizer.decoder)
        norms = [
            ranks.mean(torch.autograd.grad(made, last, s, retain_graph=True)[0]).norm() for s in (slope, push)
        ]
        return (norms[0] / (norms[1] + EPSILON)).clamp_max(self.config.largest_ratio)

    def _penalty(self, pictures: Tensor, shown: Tensor, real: Tensor, fake: Tensor, step: int) -> Tensor:
        """Gradient penalty of the discriminator; its second derivatives are float32 at any precision."""
        self.lecam.update(ranks.mean(real.detach().mean()), ranks.mean(fake.detach().mean()))
        total = max(self.config.lecam, self.diagnostics.state.corrections.lecam) * self.lecam(real, fake)
        with torch.autocast(pictures.device.type, enabled=False):
            total = total + self.objective.penalty(self.discriminator, pictures, shown)
            if self.config.r1 and step % self.config.r1_every == 0:
                total = total + self.slopes.penalty(self.discriminator, pictures, shown)
        return total


def critic_objective(name: str) -> CriticDivergence:
    """An objective of the divergences' table by its name.

    Example:
        >>> type(critic_objective("hinge")).__name__
        'Hinge'
    """
    known = [n for n, kind in DIVERGENCES.items() if issubclass(kind, CriticDivergence)]
    if name not in known:
        raise UnknownName("objective", name, known)
    return DIVERGENCES[name]()


def chance_loss(objective: CriticDivergence, like: Tensor) -> Float[Tensor, ""]:
    """A critic's loss where it gives all samples the same score, its best; infinite where that is nothing.

    Example:
        >>> chance_loss(critic_objective("hinge"), torch.zeros(1))
        tensor(2.)
    """
    even = (torch.full_like(like, score) for score in (0.0, 0.5))
    loss = torch.stack([objective.critic_loss(scores, scores) for scores in even]).amin()
    return torch.where(loss > 0, loss, torch.inf)


def last_matrix(decoder: torch.nn.Module) -> Float[Tensor, "..."]:
    """The decoder's last weight with two axes or more, in order of registration.

    Example:
        >>> last_matrix(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))).shape
        torch.Size([1, 3])
    """
    return [p for p in decoder.parameters() if p.ndim > 1][-1]
