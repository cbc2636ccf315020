"""A mixture of Gaussians: a density and samples, both exact."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import distributions as D
from torch import nn

from caselli import ranks
from caselli.divergence import CriticDivergence, MaximumLikelihood
from caselli.engine.task import Losses
from caselli.errors import UserError, expect
from caselli.estimator import rsample
from caselli.family.adversarial import adversarial
from caselli.family.base import Family, FamilyConfig, divergence_of, seeded_pair
from caselli.family.network import perceptron
from caselli.ops import HALF_LEVEL
from caselli.sampling import Sampling
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class MixtureConfig(FamilyConfig):
    """Size and divergence of a mixture."""

    components: int = 64
    """K."""
    divergence: str = "maximum_likelihood"
    """Name in `caselli.divergence.DIVERGENCES`: by likelihood, by samples, or with a critic."""
    divergence_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Its own arguments."""
    regularisers: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Names in `caselli.family.REGULARISERS` with their weight; empty for the published ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.components >= 1, "components", self.components, "at least 1")


class MixtureOfGaussians(nn.Module):
    r"""K normal distributions with axes of their own lengths.

    .. math:: p(x) = \sum_k \pi_k \prod_d N(x_d; \mu_{kd}, \sigma_{kd}^2)

    Arguments:
        components: K.
        dimensions: of x.
        least: the smallest σ, which keeps a component from collapsing on one point.

    Example:
        >>> MixtureOfGaussians(3, 2).distribution().log_prob(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    def __init__(self, components: int, dimensions: int, least: float = 1e-3) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.means = nn.Parameter(torch.randn(components, dimensions))
        self.log_scales = nn.Parameter(torch.zeros(components, dimensions))
        self.least = least

    def distribution(self) -> D.MixtureSameFamily:
        """p, its parameters on the graph."""
        scales = self.log_scales.exp() + self.least
        parts = D.Independent(D.Normal(self.means, scales, validate_args=False), 1, validate_args=False)
        weights = D.Categorical(logits=self.logits, validate_args=False)
        return D.MixtureSameFamily(weights, parts, validate_args=False)

    @torch.no_grad()
    def start(self, x: Float[Tensor, "n D"]) -> None:
        """Lays the means on data, and gives every component the width of all."""
        self.means.copy_(x[torch.arange(len(self.means), device=x.device) % len(x)])
        self.means.add_(1e-2 * torch.randn_like(self.means))
        self.log_scales.copy_(x.std(0).clamp_min(10 * self.least).log().expand_as(self.log_scales))


class Mixture(Family):
    """A mixture of Gaussians over the pixels.

    It has a density and samples with gradients, so that every divergence of data and a model fits it.
    `encode` gives the probabilities of the components.

    Example:
        >>> mixture = Mixture(MixtureConfig(size=8, components=4))
        >>> mixture.losses(torch.rand(6, 1, 8, 8), None, 0).total.requires_grad
        True
    """

    config_kind = MixtureConfig
    density = "density"
    samples = True
    config: MixtureConfig

    def __init__(self, config: MixtureConfig) -> None:
        super().__init__(config)
        if config.classes:
            raise UserError(
                f"classes {config.classes} were given",
                "a mixture takes no labels",
                "families with labels: vae, gan",
            )
        self.divergence = divergence_of(
            self, config.divergence, config.divergence_options, config.regularisers
        )
        self.mixture = MixtureOfGaussians(config.components, config.dimensions, least=HALF_LEVEL)
        self.critic: nn.Module | None = None
        if isinstance(self.divergence, CriticDivergence):
            self.critic = self.divergence.prepare(perceptron(config.dimensions, 1))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def losses(self, pictures: Tensor, labels: Tensor | None, step: int) -> Losses:
        x = self._dequantised(pictures)
        if not self.started:
            self.mixture.start(ranks.from_first(x))
            self.started.fill_(True)
        p = self.mixture.distribution()
        if isinstance(self.divergence, MaximumLikelihood):
            return Losses(self._bits(self.divergence(x, p).value), {})
        fake = rsample(p, len(x))
        if self.critic is not None:
            return adversarial(self.divergence, self.critic, self.critic, x, fake)
        return Losses(self.divergence(x, fake).value, {})

    def figures(self, pictures: Tensor, labels: Tensor | None, numbers: list[int]) -> dict[str, Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return {"loss": self._bits(self.nats(pictures, None).mean() - self._levels_nats())}

    @torch.no_grad()
    def nats(self, pictures: Tensor, labels: Tensor | None) -> Tensor:
        return -self.mixture.distribution().log_prob(self._dequantised(pictures)) + self._levels_nats()

    @torch.no_grad()
    def represent(self, pictures: Tensor) -> Tensor:
        p = self.mixture.distribution()
        each = p.component_distribution.log_prob(pictures.flatten(1)[:, None])
        return (each + p.mixture_distribution.logits).softmax(-1)

    @torch.no_grad()
    def draw(self, seeds: list[int], labels: Tensor | None, options: Sampling) -> Tensor:
        p, device = self.mixture.distribution(), self.mixture.logits.device
        noise, uniform = (part.to(device) for part in seeded_pair(seeds, self.config.dimensions, 1))
        chosen = torch.searchsorted(p.mixture_distribution.probs.cumsum(0), uniform[:, 0])
        base = p.component_distribution.base_dist
        chosen = chosen.clamp_max(len(base.loc) - 1)
        x = base.loc[chosen] + options.temperature * noise * base.scale[chosen]
        return x.unflatten(1, self.config.shape).clamp(-1, 1)

    def _dequantised(self, pictures: Tensor) -> Tensor:
        return (pictures + (2 * torch.rand_like(pictures) - 1) * HALF_LEVEL).flatten(1)

    def _levels_nats(self) -> float:
        """From densities on [−1, 1] to probabilities of grey levels."""
        return -self.config.dimensions * math.log(2 * HALF_LEVEL)

    def _bits(self, nats: Tensor) -> Tensor:
        """Bits per dimension of a density."""
        return (nats + self._levels_nats()) / (self.config.dimensions * math.log(2))
