"""Bernoulli and categorical latents as a threshold of continuous ones: noise, hard value, soft value."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import distributions as D

from caselli.errors import UserError
from caselli.estimator.parameters import append_axes, sum_last, unwrap
from caselli.shapes import Float, Tensor


def bounded(logits: Tensor) -> Tensor:
    """Logits in at least float32, infinite ones replaced by finite ones that mean the same.

    The probabilities and their (vanishing) gradients are those of the limit, and no later sum is inf - inf.

    Example:
        >>> torch.softmax(bounded(torch.tensor([float("inf"), 0.0])), -1)
        tensor([1., 0.])
    """
    wide = logits.float() if torch.finfo(logits.dtype).bits < 32 else logits
    limit = torch.finfo(wide.dtype).max ** 0.5
    return wide.clamp(-limit, limit)


def uniform(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Uniform noise in the open interval (0, 1)."""
    noise = torch.rand(shape, dtype=like.dtype, device=like.device)
    return noise.clamp_min(torch.finfo(like.dtype).tiny)


def log_exponential(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The logarithm of exponential noise, which is minus Gumbel noise; finite always."""
    noise = torch.empty(shape, dtype=like.dtype, device=like.device).exponential_()
    return noise.clamp_min(torch.finfo(like.dtype).tiny).log()


def positive_temperature(temperature: float) -> float:
    """The temperature, or a `UserError` where it is not a positive number."""
    if not 0 < temperature < float("inf"):
        raise UserError(
            f"temperature {temperature} was given",
            "a positive number was expected",
            "its limit 0 is the hard sample: sample_gumbel_max, or a straight-through estimator",
        )
    return temperature


def pass_straight_through(source: Float[Tensor, "..."], value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    r"""The value, exactly; its gradient is that of the source.

    .. math:: y = \mathrm{sg}(v) + (s - \mathrm{sg}(s)),\qquad \partial y / \partial s = I

    Source: Bengio, Léonard and Courville 2013, Estimating or Propagating Gradients Through Stochastic
    Neurons for Conditional Computation.

    Example:
        >>> z = torch.tensor([0.3], requires_grad=True)
        >>> y = pass_straight_through(z, torch.tensor([1.0]))
        >>> y.sum().backward()
        >>> y.detach(), z.grad
        (tensor([1.]), tensor([1.]))
    """
    return value.detach() + (source - source.detach())


class Relaxation(ABC):
    """Logits, and the maps between noise, continuous z, hard and soft values, all `samples *logits`."""

    def __init__(self, logits: Tensor, axes: int) -> None:
        self.logits = bounded(logits)
        """On the graph of the given logits, finite, at least float32."""
        self.axes = axes
        """Number of trailing axes that belong to one event."""

    def leaf(self) -> Relaxation:
        """A relaxation with detached logits that are a leaf of a new graph."""
        return type(self)(self.logits.detach().requires_grad_(), self.axes)

    def weighted_score(self, hard: Tensor, weights: Tensor) -> Tensor:
        """The mean over samples of weights `samples *batch` times the gradient of `log_prob`: `*logits`."""
        mean = append_axes(weights.mean(0), self.axes)
        return mean_product(weights, hard) - mean * self.probabilities(1.0).detach()

    @torch.no_grad()
    def sample(self, samples: int) -> Tensor:
        """Hard values, detached."""
        return self.harden(self.perturb(samples))

    @abstractmethod
    def perturb(self, samples: int) -> Float[Tensor, "..."]:
        """Continuous z with noise, on the graph of the logits."""

    @abstractmethod
    def harden(self, z: Tensor) -> Tensor:
        """The hard value that z stands for, detached."""

    @abstractmethod
    def soften(self, z: Tensor, temperature: float | Tensor) -> Tensor:
        """The value between the atoms."""

    @abstractmethod
    def condition(self, hard: Tensor) -> Tensor:
        """Continuous z given its hard value, with fresh noise, on the graph of the logits."""

    @abstractmethod
    def probabilities(self, temperature: float) -> Tensor:
        """The probabilities of logits / temperature."""

    @abstractmethod
    def jacobian(self, q: Tensor, v: Tensor) -> Tensor:
        """The Jacobian of the probabilities with respect to logits, at probabilities q, times v."""

    @abstractmethod
    def log_prob(self, hard: Tensor) -> Tensor:
        """`samples *batch`, joined over an event."""


class BernoulliRelaxation(Relaxation):
    r"""b = 1[z > 0] with z = φ + logistic noise."""

    def perturb(self, samples: int) -> Tensor:
        u = uniform(self.logits, (samples, *self.logits.shape))
        return self.logits + u.log() - torch.log1p(-u)

    @torch.no_grad()
    def sample(self, samples: int) -> Tensor:
        # one comparison with uniform noise, in its place: several times faster than torch.bernoulli
        noise = torch.rand((samples, *self.logits.shape), dtype=self.logits.dtype, device=self.logits.device)
        return noise.lt_(torch.sigmoid(self.logits))

    def harden(self, z: Tensor) -> Tensor:
        return (z > 0).to(z.dtype)

    def soften(self, z: Tensor, temperature: float | Tensor) -> Tensor:
        return torch.sigmoid(z / temperature)

    def condition(self, hard: Tensor) -> Tensor:
        v = uniform(self.logits, hard.shape)
        above = F.softplus(self.logits + v.log()) - torch.log1p(-v)
        below = v.log() - F.softplus(torch.log1p(-v) - self.logits)
        return either(hard, above, below)

    def probabilities(self, temperature: float) -> Tensor:
        return torch.sigmoid(self.logits / temperature)

    def jacobian(self, q: Tensor, v: Tensor) -> Tensor:
        return q * (1 - q) * v

    def log_prob(self, hard: Tensor) -> Tensor:
        return sum_last(F.logsigmoid((2 * hard - 1) * self.logits), self.axes)


class CategoricalRelaxation(Relaxation):
    """One-hot of the argmax of z = log probabilities + Gumbel noise; the last axis is the category."""

    def perturb(self, samples: int) -> Tensor:
        return self._normalised() - log_exponential(self.logits, (samples, *self.logits.shape))

    def harden(self, z: Tensor) -> Tensor:
        return F.one_hot(z.argmax(-1), z.shape[-1]).to(z.dtype)

    def soften(self, z: Tensor, temperature: float | Tensor) -> Tensor:
        return torch.softmax(z / temperature, -1)

    def condition(self, hard: Tensor) -> Tensor:
        noise = log_exponential(self.logits, hard.shape)
        top = log_exponential(self.logits, (*hard.shape[:-1], 1))
        return either(hard, -top, -torch.logaddexp(noise - self._normalised(), top))

    def probabilities(self, temperature: float) -> Tensor:
        return torch.softmax(self.logits / temperature, -1)

    def jacobian(self, q: Tensor, v: Tensor) -> Tensor:
        return q * (v - (q * v).sum(-1, keepdim=True))

    def log_prob(self, hard: Tensor) -> Tensor:
        return sum_last(hard * self._normalised(), self.axes)

    def _normalised(self) -> Tensor:
        return torch.log_softmax(self.logits, -1)


def either(hard: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """`one` where hard is 1, `other` where it is 0, both finite: ten times as fast as `torch.where`, whose
    branches a processor cannot foresee where they are random.

    Example:
        >>> either(torch.tensor([1.0, 0.0]), torch.tensor([5.0, 6.0]), torch.tensor([7.0, 8.0]))
        tensor([5., 8.])
    """
    return torch.lerp(other, one.expand_as(other), hard.to(other.dtype))


def mean_product(weights: Tensor, events: Tensor) -> Tensor:
    """The mean over samples of weights `samples *batch` times events `samples *batch *event`.

    Example:
        >>> mean_product(torch.tensor([1.0, 3.0]), torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
        tensor([1., 6.])
    """
    return (append_axes(weights, events.dim() - weights.dim()) * events).mean(0)


def draw(p: D.Distribution, samples: int) -> Tensor:
    """Samples of p, `samples *batch *event`, in p's own form."""
    if isinstance(unwrap(p), D.Bernoulli):
        return as_values(p, relaxation(p).sample(samples))
    return p.sample((samples,))


DISCRETE = (D.Bernoulli, D.Categorical, D.OneHotCategorical)
"""The families that have a relaxation."""


def relaxation(p: D.Distribution) -> Relaxation:
    """The relaxation of a Bernoulli, categorical or one-hot categorical distribution."""
    base = unwrap(p)
    if isinstance(base, D.Bernoulli):
        return BernoulliRelaxation(base.logits, len(p.event_shape))
    indices = isinstance(base, D.Categorical)
    return CategoricalRelaxation(base.logits, len(p.event_shape) + indices)


def as_values(p: D.Distribution, hard: Tensor) -> Tensor:
    """Hard values in the form and type that p's own samples have."""
    base = unwrap(p)
    return hard.argmax(-1) if isinstance(base, D.Categorical) else hard.to(base.logits.dtype)


def as_hard(p: D.Distribution, values: Tensor) -> Tensor:
    """p's own samples as hard values: the inverse of `as_values`."""
    base = unwrap(p)
    return F.one_hot(values, base.logits.shape[-1]) if isinstance(base, D.Categorical) else values


def log_prob(p: D.Distribution, z: Tensor) -> Tensor:
    """log p(z), with the limit's value and gradient at infinite logits."""
    if not isinstance(unwrap(p), DISCRETE):
        return p.log_prob(z)
    return relaxation(p).log_prob(as_hard(p, z))
