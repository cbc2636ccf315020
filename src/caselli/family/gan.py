"""A generator fitted by samples: the generative adversarial network, and its kin without an adversary."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from caselli import ranks
from caselli.divergence import CriticDivergence, Energy
from caselli.engine.task import Losses
from caselli.errors import UserError, expect, lookup
from caselli.family.adversarial import adversarial
from caselli.family.base import LABEL_WIDTH, Family, FamilyConfig, divergence_of, seeded, seeded_pair
from caselli.family.network import DECODERS, ENCODERS
from caselli.sampling import Sampling
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class GANConfig(FamilyConfig):
    """Networks and divergence of a generator."""

    network: str = "convolutional"
    """Name in `caselli.family.network.DECODERS`: convolutional, residual, perceptron or linear."""
    width: int = 48
    """Channels at the finest scale, or units of a layer."""
    count: int = 64
    """D, latents of a picture."""
    divergence: str = "relativistic"
    """Name in `caselli.divergence.DIVERGENCES`: one with a critic, or one of two sets of samples."""
    divergence_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Its own arguments, such as f of f_gan."""
    regularisers: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Names in `caselli.family.REGULARISERS` with their weight; empty for the published ones."""
    critic_width: int = 0
    """Width of the critic; 0 for the generator's."""
    critic_features: int = 256
    """Numbers that the critic makes of a picture before it judges."""
    critic_steps: int = 1
    """Steps of the critic for one of the generator."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("count", "critic_features", "critic_steps"):
            expect(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


class Generator(nn.Module):
    """Latents, and a label where there are any, → pictures in [−1, 1]."""

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        self.label = nn.Embedding(config.classes, LABEL_WIDTH) if config.classes else None
        inputs = config.count + (LABEL_WIDTH if config.classes else 0)
        network = lookup(DECODERS, "network", config.network)
        self.network = network(inputs, config.channels, config.size, config.width)

    def forward(self, z: Float[Tensor, "B D"], labels: Int[Tensor, "B"] | None) -> Float[Tensor, "B C H W"]:
        joined = z if self.label is None else torch.cat([z, self.label(labels)], -1)
        return self.network(joined).float().tanh()


class Critic(nn.Module):
    r"""Pictures → one number each; a label is projected.

    .. math:: D(x, y) = w \cdot h(x) + e_y \cdot h(x)

    Source: Miyato and Koyama 2018, cGANs with Projection Discriminator.
    """

    def __init__(self, config: GANConfig) -> None:
        super().__init__()
        width = config.critic_width or config.width
        network = lookup(ENCODERS, "network", config.network)
        self.network = network(config.channels, config.size, width, normalised=False)
        self.hidden = nn.Linear(self.network.features, config.critic_features)
        self.head = nn.Linear(config.critic_features, 1)
        self.label = nn.Embedding(config.classes, config.critic_features) if config.classes else None
        if self.label is not None:
            nn.init.normal_(self.label.weight, std=config.critic_features**-0.5)

    def features(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """h."""
        return nn.functional.leaky_relu(self.hidden(self.network(pictures)), 0.2)

    def forward(self, pictures: Float[Tensor, "B C H W"], labels: Int[Tensor, "B"] | None) -> Tensor:
        h = self.features(pictures)
        score = self.head(h).squeeze(-1).float()
        return score if self.label is None else score + (self.label(labels) * h).float().sum(-1)


class GAN(Family):
    r"""A network from noise to pictures, fitted by what its samples and the data say about a divergence.

    With a divergence that has a critic, both players move in every step: the critic by its loss, the
    generator by its own, each cut off from the other's parameters. With one of two sets of samples (`mmd`,
    `energy`, `sinkhorn`, ...) there is no critic. Without a density there is no `score`; `encode` gives the
    critic's features.

    Sources: Goodfellow et al. 2014, Generative Adversarial Nets; Radford, Metz and Chintala 2016; Li, Swersky
    and Zemel 2015, Generative Moment Matching Networks.

    Example:
        >>> gan = GAN(GANConfig(size=8, width=8, count=4))
        >>> gan.losses(torch.zeros(2, 1, 8, 8), None, 0).total.requires_grad
        True
    """

    config_kind = GANConfig
    samples = True
    config: GANConfig

    def __init__(self, config: GANConfig) -> None:
        super().__init__(config)
        self.divergence = divergence_of(
            self, config.divergence, config.divergence_options, config.regularisers
        )
        self.generator = Generator(config)
        self.critic: Critic | None = None
        if isinstance(self.divergence, CriticDivergence):
            self.critic = self.divergence.prepare(Critic(config))
        self.held: list[tuple[Tensor, Tensor]] = []

    # training -----------------------------------------------------------------------------------------------

    def losses(self, pictures: Tensor, labels: Tensor | None, step: int) -> Losses:
        labels = self._labels(labels, len(pictures), pictures.device)
        z = torch.randn(len(pictures), self.config.count, device=pictures.device)
        if self.critic is None:
            made = self.generator(z, labels).flatten(1)  # in half precision under autocast
            value = self.divergence(pictures.flatten(1), made.to(pictures.dtype)).value
            return Losses(value, {})
        turn = (step + 1) % self.config.critic_steps == 0
        if not turn and ranks.count() > 1:
            raise UserError("several processes were given", "critic_steps 1 was expected with them")
        with torch.set_grad_enabled(turn and torch.is_grad_enabled()):
            fake = self.generator(z, labels)
        return adversarial(self.divergence, self.critic, lambda x: self.critic(x, labels), pictures, fake)

    def figures(self, pictures: Tensor, labels: Tensor | None, numbers: list[int]) -> dict[str, Tensor]:
        """Samples for the same labels are kept until `finish`, which compares the two sets."""
        labels = self._labels(labels, len(pictures), pictures.device)
        z = self.latents(numbers, Sampling()).to(pictures.device)
        self.held.append((pictures.flatten(1), self.generator(z, labels).flatten(1).to(pictures.dtype)))
        return {}

    def finish(self) -> dict[str, float]:
        """The energy distance between held-out pictures and as many samples."""
        if not self.held:
            return {}
        real, fake = (ranks.join(torch.cat(side)) for side in zip(*self.held, strict=True))
        self.held = []
        return {"loss": Energy()(real, fake).value.item()}

    # uses ---------------------------------------------------------------------------------------------------

    def latents(self, seeds: list[int], options: Sampling) -> Tensor:
        return options.temperature * seeded(seeds, self.config.count, normal=True)

    @torch.no_grad()
    def decode(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        return self.generator(latents, self._labels(labels, len(latents), latents.device))

    def draw(self, seeds: list[int], labels: Tensor | None, options: Sampling) -> Tensor:
        if labels is None and self.config.classes:
            _, uniform = seeded_pair(seeds, self.config.count, 1)
            labels = (uniform[:, 0] * self.config.classes).long()
        device = next(self.parameters()).device
        return self.decode(
            self.latents(seeds, options).to(device), labels if labels is None else labels.to(device)
        )

    @torch.no_grad()
    def represent(self, pictures: Tensor) -> Tensor:
        return super().represent(pictures) if self.critic is None else self.critic.features(pictures)

    # parts --------------------------------------------------------------------------------------------------

    def _labels(self, labels: Tensor | None, count: int, device: torch.device) -> Tensor | None:
        if not self.config.classes:
            return None
        return torch.arange(count, device=device) % self.config.classes if labels is None else labels
