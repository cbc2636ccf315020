"""The derivative of a measure as a difference of measures."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor
from torch import distributions as D
from torch.distributions import Distribution

from caselli.estimator.base import Estimate, Estimator, Function, mean_estimate
from caselli.estimator.parameters import unwrap
from caselli.estimator.relaxation import as_values, relaxation
from caselli.ops import inject_gradient


class MeasureValued(Estimator):
    r"""Weak derivatives: for every coordinate and parameter, f at two coupled values of that coordinate.

    ==========  ===================================================================================
    Normal      ∂μ = (f(μ + σW) − f(μ − σW)) / (σ√2π), W Rayleigh; ∂σ = (f(μ + σM) − f(μ + σε)) / σ,
                M = sign(ε) √(ε² + 2E), double-sided Maxwell, E exponential
    Bernoulli   ∂φ = p(1 − p) (f(1) − f(0))
    Poisson     ∂λ = f(n + 1) − f(n)
    Gamma       ∂β = (α/β) (f(x) − f(x + e)), e exponential of rate β;
                ∂α = w (f(x) − f(s x)), s ~ Beta(α, ½), w = B(α, ½) / √(1 − s)
    ==========  ===================================================================================

    ε is the sample's own noise. The last line: Frullani's integrals for log x and ψ(α) give

    .. math:: \partial_\alpha E[f] = \int_0^1 \frac{s^{\alpha-1}}{1-s} \, E[f(x) - f(s x)] \, ds.

    Unbiased; f need not be differentiable. Cost, with n coordinates in an event: (n + 1) S evaluations of f
    for Bernoulli and Poisson, (2n + 1) S for Gamma, (3n + 1) S for Normal latents, all in one call.

    Sources: Heidergott and Vázquez-Abad 2008, Measure-Valued Differentiation for Markov Chains; Mohamed et
    al. 2020, Monte Carlo Gradient Estimation in Machine Learning.

    Example:
        >>> p = torch.distributions.Poisson(torch.tensor(3.0, requires_grad=True))
        >>> estimate = MeasureValued()(lambda n: 2 * n, p, samples=1)
        >>> torch.autograd.grad(estimate.surrogate, p.rate)[0]
        tensor(2.)
    """

    unbiased = True
    needs_gradient = False
    serves = (D.Normal, D.Bernoulli, D.Poisson, D.Gamma)

    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        z, terms = _terms(p, samples)
        points = torch.cat([z, *(_replaced(z, move.to, p) for term in terms for move in term.moves)])
        values = self._evaluate(f, p, points.detach())
        base = values[:samples]
        changes = iter(_changes(values.detach(), samples, p))
        gradient = sum(
            inject_gradient(term.parameter, sum(move.weight * next(changes) for move in term.moves).mean(0))
            for term in terms
        )
        return mean_estimate(base, gradient)

    def evaluations(self, p: Distribution, samples: int) -> int:
        """The sample itself, and each coordinate moved."""
        moves = {D.Normal: 3, D.Bernoulli: 1, D.Poisson: 1, D.Gamma: 2}
        count = next(n for family, n in moves.items() if isinstance(unwrap(p), family))
        return (count * p.event_shape.numel() + 1) * samples


@dataclasses.dataclass(frozen=True)
class _Move:
    """Each coordinate in turn moves to `to`; what f gains by it counts `weight` times."""

    to: Tensor
    weight: Tensor


@dataclasses.dataclass(frozen=True)
class _Term:
    """The derivative with respect to one parameter."""

    parameter: Tensor
    moves: tuple[_Move, ...]


def _replaced(z: Tensor, to: Tensor, p: Distribution) -> Tensor:
    """n copies of z, in each of which one coordinate has moved: `n·samples *batch *event`."""
    n, axes = p.event_shape.numel(), len(p.event_shape)
    which = torch.eye(n, dtype=torch.bool, device=z.device)
    which = which.reshape(n, *[1] * (z.ndim - axes), *p.event_shape)
    return torch.where(which, to, z).flatten(0, 1)


def _changes(values: Tensor, samples: int, p: Distribution) -> Tensor:
    """Gain of f by every move of every coordinate: `moves samples *batch *event`."""
    gains = values[samples:].reshape(-1, p.event_shape.numel(), *values[:samples].shape) - values[:samples]
    return gains.movedim(1, -1).reshape(-1, samples, *p.batch_shape, *p.event_shape)


def _terms(p: Distribution, samples: int) -> tuple[Tensor, list[_Term]]:
    """A sample of p, and the moves whose gains are the derivatives."""
    build = {D.Normal: _normal, D.Bernoulli: _bernoulli, D.Poisson: _poisson, D.Gamma: _gamma}
    return next(make for family, make in build.items() if isinstance(unwrap(p), family))(p, samples)


def _normal(p: Distribution, samples: int) -> tuple[Tensor, list[_Term]]:
    base = unwrap(p)
    z = p.sample((samples,))
    rayleigh = base.scale * (2 * torch.empty_like(z).exponential_()).sqrt()
    noise = (z - base.loc) / base.scale
    maxwell = noise.sign() * (noise.square() + 2 * torch.empty_like(z).exponential_()).sqrt()
    slope = (1 / (base.scale * math.sqrt(2 * math.pi))).expand_as(z)
    location = (_Move(base.loc + rayleigh, slope), _Move(base.loc - rayleigh, -slope))
    width = _Move(base.loc + base.scale * maxwell, 1 / base.scale)
    return z, [_Term(base.loc, location), _Term(base.scale, (width,))]


def _bernoulli(p: Distribution, samples: int) -> tuple[Tensor, list[_Term]]:
    r = relaxation(p)
    hard = r.sample(samples)
    q = r.probabilities(1.0)
    flip = _Move(as_values(p, 1 - hard), q * (1 - q) * (1 - 2 * hard))
    return as_values(p, hard), [_Term(r.logits, (flip,))]


def _poisson(p: Distribution, samples: int) -> tuple[Tensor, list[_Term]]:
    z = p.sample((samples,))
    return z, [_Term(unwrap(p).rate, (_Move(z + 1, torch.ones_like(z)),))]


def _gamma(p: Distribution, samples: int) -> tuple[Tensor, list[_Term]]:
    base = unwrap(p)
    z = p.sample((samples,))
    grown = z + torch.empty_like(z).exponential_() / base.rate
    shape = base.concentration.expand_as(z)
    kept, lost = torch.distributions.Gamma(shape, 1.0).sample(), torch.empty_like(z).normal_().square() / 2
    beta = (torch.lgamma(shape) + math.lgamma(0.5) - torch.lgamma(shape + 0.5)).exp()
    shrink = _Move(z * kept / (kept + lost), -beta * ((kept + lost) / lost).sqrt())
    growth = _Move(grown, (-base.concentration / base.rate).expand_as(z))
    return z, [_Term(base.concentration, (shrink,)), _Term(base.rate, (growth,))]
