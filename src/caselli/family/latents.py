"""Latents of a VAE: posterior, prior, and the divergence between them; by name in `LATENTS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import distributions as D
from torch import nn
from torch.nn.functional import logsigmoid, one_hot

from caselli.family.base import seeded
from caselli.sampling import Sampling
from caselli.shapes import Float, Tensor


class Latents(nn.Module, ABC):
    """D latents of one kind.

    Arguments:
        count: D.
        categories: values of one latent, of those that have categories.
    """

    estimator: ClassVar[str]
    """The estimator used unless another is named."""

    def __init__(self, count: int, categories: int) -> None:
        super().__init__()
        self.count, self.categories = count, categories

    @property
    @abstractmethod
    def inputs(self) -> int:
        """Numbers that the encoder gives."""

    @property
    def outputs(self) -> int:
        """Numbers that the decoder reads."""
        return self.count

    @abstractmethod
    def posterior(self, given: Float[Tensor, "B I"]) -> D.Distribution:
        """q(z | x) from the encoder's numbers, one event a picture."""

    @abstractmethod
    def prior(self) -> D.Distribution:
        """p(z), one event."""

    @abstractmethod
    def represent(self, q: D.Distribution) -> Float[Tensor, "B F"]:
        """The posterior's mean, flat."""

    @abstractmethod
    def draw(self, seeds: list[int], options: Sampling) -> Float[Tensor, "B D"]:
        """Latents from the prior, flat."""

    @abstractmethod
    def divergence(self, q: D.Distribution) -> Float[Tensor, "B D"]:
        """KL(q ‖ p) of every latent, in nats, in closed form."""

    def flat(self, z: Tensor) -> Float[Tensor, "*n B F"]:
        """Samples of q as vectors for the decoder."""
        return z


class GaussianLatents(Latents):
    """Normal latents with a standard normal prior."""

    estimator = "pathwise"

    def __init__(self, count: int, categories: int) -> None:
        super().__init__(count, categories)
        self.register_buffer("zero", torch.zeros(count), persistent=False)

    @property
    def inputs(self) -> int:
        return 2 * self.count

    def posterior(self, given: Tensor) -> D.Distribution:
        mean, log_variance = given.float().chunk(2, -1)
        scale = (log_variance.clamp(-20, 10) / 2).exp()
        return _independent(D.Normal(mean, scale, validate_args=False))

    def prior(self) -> D.Distribution:
        return _independent(D.Normal(self.zero, torch.ones_like(self.zero), validate_args=False))

    def divergence(self, q: D.Distribution) -> Tensor:
        mean, scale = q.base_dist.loc, q.base_dist.scale
        return (mean.square() + scale.square() - 1) / 2 - scale.log()

    def represent(self, q: D.Distribution) -> Tensor:
        return q.base_dist.loc

    def draw(self, seeds: list[int], options: Sampling) -> Tensor:
        return options.temperature * seeded(seeds, self.count, normal=True)


class BernoulliLatents(Latents):
    """Binary latents with a learned prior."""

    estimator = "disarm"

    def __init__(self, count: int, categories: int) -> None:
        super().__init__(count, categories)
        self.logits = nn.Parameter(torch.zeros(count))

    @property
    def inputs(self) -> int:
        return self.count

    def posterior(self, given: Tensor) -> D.Distribution:
        return _independent(D.Bernoulli(logits=given.float(), validate_args=False))

    def prior(self) -> D.Distribution:
        return _independent(D.Bernoulli(logits=self.logits, validate_args=False))

    def divergence(self, q: D.Distribution) -> Tensor:
        a, b, yes = q.base_dist.logits, self.logits, q.base_dist.probs
        return yes * (logsigmoid(a) - logsigmoid(b)) + (1 - yes) * (logsigmoid(-a) - logsigmoid(-b))

    def represent(self, q: D.Distribution) -> Tensor:
        return q.base_dist.probs

    def draw(self, seeds: list[int], options: Sampling) -> Tensor:
        noise = seeded(seeds, self.count, normal=False).to(self.logits.device)
        logistic = noise.log() - torch.log1p(-noise)
        return (self.logits + options.temperature * logistic > 0).float()


class CategoricalLatents(Latents):
    """One-hot latents with a learned prior."""

    estimator = "reinmax"

    def __init__(self, count: int, categories: int) -> None:
        super().__init__(count, categories)
        self.logits = nn.Parameter(torch.zeros(count, categories))

    @property
    def inputs(self) -> int:
        return self.count * self.categories

    @property
    def outputs(self) -> int:
        return self.count * self.categories

    def posterior(self, given: Tensor) -> D.Distribution:
        logits = given.float().unflatten(-1, (self.count, self.categories))
        return _independent(D.OneHotCategorical(logits=logits, validate_args=False))

    def prior(self) -> D.Distribution:
        return _independent(D.OneHotCategorical(logits=self.logits, validate_args=False))

    def divergence(self, q: D.Distribution) -> Tensor:
        log_q, log_p = q.base_dist.logits, self.logits.log_softmax(-1)
        return (q.base_dist.probs * (log_q - log_p)).sum(-1)

    def represent(self, q: D.Distribution) -> Tensor:
        return q.base_dist.probs.flatten(-2)

    def draw(self, seeds: list[int], options: Sampling) -> Tensor:
        noise = seeded(seeds, self.count, self.categories, normal=False).to(self.logits.device)
        gumbel = -(-noise.clamp_min(1e-30).log()).log()
        chosen = (self.logits.log_softmax(-1) + options.temperature * gumbel).argmax(-1)
        return one_hot(chosen, self.categories).float().flatten(-2)

    def flat(self, z: Tensor) -> Tensor:
        return z.flatten(-2)


def _independent(base: D.Distribution) -> D.Distribution:
    return D.Independent(base, 1, validate_args=False)


LATENTS: dict[str, type[Latents]] = {
    "gaussian": GaussianLatents,
    "bernoulli": BernoulliLatents,
    "categorical": CategoricalLatents,
}
"""The latents by name."""
