"""The variational autoencoder."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import distributions as D
from torch import nn

from caselli.engine.task import Losses
from caselli.errors import UserError, expect, lookup
from caselli.estimator import ESTIMATORS, SCHEDULES, Estimator
from caselli.family.base import LABEL_WIDTH, Family, FamilyConfig, divergence_of
from caselli.family.latents import LATENTS, Latents
from caselli.family.likelihood import LIKELIHOODS, Likelihood
from caselli.family.network import DECODERS, ENCODERS
from caselli.family.objective import OBJECTIVES
from caselli.sampling import Sampling
from caselli.shapes import Float, Int, Tensor

CHUNK = 4096
"""Pictures that are decoded at a time when a bound is evaluated."""


@dataclasses.dataclass(frozen=True)
class VAEConfig(FamilyConfig):
    """Networks, latents, likelihood and objective of a VAE."""

    network: str = "convolutional"
    """Name in `caselli.family.network.ENCODERS`: convolutional, residual, perceptron or linear."""
    width: int = 48
    """Channels at the finest scale, or units of a layer."""
    latents: str = "gaussian"
    """Name in `caselli.family.latents.LATENTS`: gaussian, bernoulli or categorical."""
    count: int = 64
    """D, latents of a picture."""
    categories: int = 16
    """Values of a categorical latent."""
    likelihood: str = "discretised_logistic"
    """Name in `caselli.family.likelihood.LIKELIHOODS`: gaussian, bernoulli or discretised_logistic."""
    objective: str = "elbo"
    """Name in `caselli.family.objective.OBJECTIVES`: elbo, iwae or info_vae."""
    objective_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Its arguments: samples, beta and free_bits of elbo; alpha, scale and divergence of info_vae."""
    estimator: str = ""
    """Name in `caselli.estimator.ESTIMATORS`; empty for the latents' own."""
    estimator_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Its arguments, such as baseline of score; empty for those that fit the latents."""
    schedule: str = "constant"
    """Name in `caselli.estimator.SCHEDULES`, of the temperature of estimators that have one."""
    schedule_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Its start, end and steps."""
    label_dropout: float = 0.1
    """Share of the labels that are replaced by the null label in training, where there are labels."""
    evaluation_samples: int = 32
    """Importance samples of the bound that is reported for held-out pictures."""
    divergence: str = "maximum_likelihood"
    """Divergence that the model is fitted by; a VAE has a bound of its likelihood and nothing else."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("count", "evaluation_samples"):
            expect(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        expect(self.categories >= 2, "categories", self.categories, "at least 2")
        expect(0 <= self.label_dropout < 1, "label_dropout", self.label_dropout, "0 up to 1")


class VAE(Family):
    r"""A latent-variable model fitted through an encoder that is learned with it.

    .. math:: \log p(x) \ge E_{q(z \mid x)}[\log p(x \mid z)] - \mathrm{KL}(q(z \mid x) \| p(z))

    Its density is a bound, so it is fitted by maximum likelihood; `encode` gives the posterior's mean. A
    label, where there are any, is told to encoder and decoder; without one they are told the null label.

    Sources: Kingma and Welling 2014, Auto-Encoding Variational Bayes; Sohn, Lee and Yan 2015, Learning
    Structured Output Representation using Deep Conditional Generative Models.

    Example:
        >>> vae = VAE(VAEConfig(size=8, width=8, count=4))
        >>> vae.losses(torch.zeros(2, 1, 8, 8), None, 0).total.requires_grad
        True
    """

    config_kind = VAEConfig
    density = "bound"
    config: VAEConfig

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(config)
        divergence_of(self, config.divergence, {})
        self.space: Latents = lookup(LATENTS, "latents", config.latents)(config.count, config.categories)
        self.likelihood: Likelihood = lookup(LIKELIHOODS, "likelihood", config.likelihood)()
        self.objective = _built(OBJECTIVES, "objective", config.objective, config.objective_options)
        encoder = lookup(ENCODERS, "network", config.network)
        self.encoder = encoder(config.channels, config.size, config.width)
        self.label = nn.Embedding(config.classes + 1, LABEL_WIDTH) if config.classes else None
        told = LABEL_WIDTH if config.classes else 0
        self.head = nn.Linear(self.encoder.features + told, self.space.inputs)
        outputs = config.channels * self.likelihood.outputs
        decoder = lookup(DECODERS, "network", config.network)
        self.decoder = decoder(self.space.outputs + told, outputs, config.size, config.width)
        self.estimator = self._estimator()
        self.schedule = _built(SCHEDULES, "schedule", config.schedule, config.schedule_options)

    # training -----------------------------------------------------------------------------------------------

    def losses(self, pictures: Tensor, labels: Tensor | None, step: int) -> Losses:
        if hasattr(self.estimator, "temperature") and self.config.schedule != "constant":
            self.estimator.temperature = self.schedule(step)
        labels = self._dropped(labels)
        q = self.posterior(pictures, labels)
        unit = self.config.dimensions * math.log(2)  # nats of one bit per dimension
        bound = self.objective(self._log_likelihood(pictures, labels), q, self.space, self.estimator, unit)
        own = bound.auxiliary_loss - bound.auxiliary_loss.detach()  # trains the estimator, adds no loss
        return Losses(own - bound.value, {"rate_bits": bound.rate / math.log(2)})

    def figures(self, pictures: Tensor, labels: Tensor | None, numbers: list[int]) -> dict[str, Tensor]:
        q = self.posterior(pictures, labels)
        with torch.random.fork_rng():
            torch.manual_seed(0)  # the same draws at every look
            nats = (
                -self.bound(pictures, 1, labels).mean()
                + self.config.dimensions * self.likelihood.levels_nats()
            )
            bits = nats / (self.config.dimensions * math.log(2))
        mean = self.decode(self.space.represent(q), labels)
        squared = (mean - pictures).square().mean()
        rate = self.space.divergence(q).flatten(1).sum(1).mean() / math.log(2)
        return {"loss": bits, "psnr": 10 * torch.log10(4 / squared.clamp_min(1e-12)), "rate_bits": rate}

    def posterior(
        self, pictures: Float[Tensor, "B C H W"], labels: Int[Tensor, "B"] | None = None
    ) -> D.Distribution:
        """q(z | x), or q(z | x, y)."""
        seen = self.encoder(self._input(pictures))
        return self.space.posterior(self.head(self._told(seen, labels)))

    # the three uses -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def bound(
        self, pictures: Float[Tensor, "B C H W"], samples: int, labels: Int[Tensor, "B"] | None = None
    ) -> Float[Tensor, "B"]:
        """The importance-weighted bound of log p, in nats, with that many samples of the posterior."""
        prepared = self.likelihood.prepared(pictures)
        q, p = self.posterior(prepared, labels), self.space.prior()
        f, parts = self._log_likelihood(prepared, labels), []
        block = max(1, CHUNK // len(pictures))
        for start in range(0, samples, block):
            z = q.sample((min(block, samples - start),))
            parts.append(f(z) + p.log_prob(z) - q.log_prob(z))
        return torch.cat(parts).logsumexp(0) - math.log(samples)

    def nats(self, pictures: Tensor, labels: Tensor | None) -> Tensor:
        nats = -self.bound(pictures, self.config.evaluation_samples, labels)
        return nats + self.config.dimensions * self.likelihood.levels_nats()

    def levels(self) -> int:
        return self.likelihood.levels

    @torch.no_grad()
    def represent(self, pictures: Tensor) -> Tensor:
        return self.space.represent(self.posterior(pictures))

    def latents(self, seeds: list[int], options: Sampling) -> Tensor:
        return self.space.draw(seeds, options)

    @torch.no_grad()
    def decode(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        return self.likelihood.mean(self.decoder(self._told(latents, labels)))

    def reconstruct(self, pictures: Tensor) -> Tensor:
        return self.decode(self.represent(pictures), None)

    def draw(self, seeds: list[int], labels: Int[Tensor, "B"] | None, options: Sampling) -> Tensor:
        latents = self.latents(seeds, options).to(self.head.weight.device)
        return self.decode(latents, labels)

    # parts --------------------------------------------------------------------------------------------------

    def _input(self, pictures: Tensor) -> Tensor:
        """The encoder's input: no more than what is modelled."""
        return torch.where(pictures > 0, 1.0, -1.0) if self.likelihood.levels == 2 else pictures

    def _told(self, vectors: Float[Tensor, "*n B D"], labels: Tensor | None) -> Float[Tensor, "*n B E"]:
        """The vectors with the label's beside them, the null label's where there is none."""
        if self.label is None:
            return vectors
        if labels is None:
            labels = torch.full(vectors.shape[-2:-1], self.config.classes, device=vectors.device)
        labels = labels.masked_fill(labels < 0, self.config.classes)  # of a class that is not known
        told = self.label(labels.to(vectors.device))
        return torch.cat((vectors, told.expand(*vectors.shape[:-1], -1)), -1)

    def _dropped(self, labels: Tensor | None) -> Tensor | None:
        """Labels as training sees them: a share of them is the null label."""
        if labels is None or self.label is None:
            return None
        gone = torch.rand(len(labels), device=labels.device) < self.config.label_dropout
        return labels.masked_fill(gone, self.config.classes)

    def _log_likelihood(self, pictures: Tensor, labels: Tensor | None):
        def f(z: Tensor) -> Tensor:
            flat = self._told(self.space.flat(z), labels)
            outputs = self.decoder(flat.flatten(0, 1)).unflatten(0, flat.shape[:2])
            return self.likelihood.log_prob(outputs, pictures)

        return f

    def _estimator(self) -> Estimator:
        config = self.config
        kind = lookup(ESTIMATORS, "estimator", config.estimator or self.space.estimator)
        q = self.objective.event(self.space.posterior(torch.zeros(1, self.space.inputs)))
        estimator = _estimating(kind, config.estimator_options, q)
        if estimator is None:
            fit = [name for name, other in ESTIMATORS.items() if other().accepts(q)]
            raise UserError(
                f"estimator {config.estimator!r} and {config.latents} latents were given",
                "an estimator that serves them was expected",
                f"these fit: {', '.join(fit)}",
            )
        self.objective.check(estimator, self.space)
        return estimator


def _estimating(kind: type[Estimator], options: dict[str, Any], q: D.Distribution) -> Estimator | None:
    """An estimator that fits q, or None where its kind does not serve q."""
    if not kind().accepts(q):
        return None
    try:
        return kind(**options) if options else kind.fitting(q)
    except TypeError as error:
        raise UserError(f"estimator options {options} were given ({error})") from None


def _built(table: dict[str, type], kind: str, name: str, options: dict[str, Any]) -> Any:
    try:
        return lookup(table, kind, name)(**options)
    except TypeError as error:
        raise UserError(f"{kind} options {options} were given ({error})") from None
