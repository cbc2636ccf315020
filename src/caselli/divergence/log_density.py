"""Densities and masses in logarithms, exact where they are zero."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch import distributions as D
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid


def log_density(p: Distribution, x: Tensor) -> Tensor:
    """log p(x), minus infinity outside the support.

    Example:
        >>> log_density(torch.distributions.Exponential(1.0), torch.tensor([-1.0, 2.0]))
        tensor([-inf, -2.])
    """
    if isinstance(p, D.VonMises):  # its support is said to be all numbers, and its mass is 1 in each turn
        return p.log_prob(x).masked_fill(x.abs() > math.pi, -torch.inf)
    support = p.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if isinstance(support, type(constraints.real)):
        return p.log_prob(x)
    if isinstance(p, D.MixtureSameFamily):  # each part has a support of its own
        return log_mass(p, x)
    inside = p.support.check(x)
    events = inside.reshape(*inside.shape, *[1] * len(p.event_shape))
    return log_mass(p, torch.where(events, x, _inner_point(p))).masked_fill(~inside, -torch.inf)


def _inner_point(p: Distribution) -> Tensor:
    """Any point of the support, in whose place no gradient becomes NaN; the random state stays as it is."""
    with torch.no_grad(), torch.random.fork_rng():
        return p.sample()


@functools.singledispatch
def log_mass(p: Distribution, x: Tensor) -> Tensor:
    """log p(x) in the support.

    `log_prob` of torch clamps probabilities away from 0 and 1, so that log 0 is −15.9 in float32; here it is
    −∞, with a gradient of zero instead of NaN. `mass` has the gradient there.

    Example:
        >>> log_mass(D.Bernoulli(torch.tensor(1.0)), torch.tensor([0.0, 1.0]))
        tensor([-inf, 0.])
    """
    return p.log_prob(x)


@log_mass.register
def _(p: D.Bernoulli, x: Tensor) -> Tensor:
    success, failure = _log_chances(p)
    return _times(x, success) + _times(1 - x, failure)


@log_mass.register
def _(p: D.Binomial, x: Tensor) -> Tensor:
    success, failure = _log_chances(p)
    return _log_choices(p, x) + _times(x, success) + _times(p.total_count - x, failure)


@log_mass.register
def _(p: D.Geometric, x: Tensor) -> Tensor:
    success, failure = _log_chances(p)
    return _times(x, failure) + success


@log_mass.register
def _(p: D.Poisson, x: Tensor) -> Tensor:
    return _times(x, log(p.rate)) - p.rate - (x + 1).lgamma()


@log_mass.register
def _(p: D.NegativeBinomial, x: Tensor) -> Tensor:
    success, failure = _log_chances(p)
    return _log_repeats(p, x) + _times(x, success) + _times(p.total_count, failure)


@log_mass.register
def _(p: D.Multinomial, x: Tensor) -> Tensor:
    logarithms = log(p.probs) if _by_probs(p._categorical) else p.logits
    return _log_orders(p, x) + _times(x, logarithms).sum(-1)


@log_mass.register
def _(p: D.MixtureSameFamily, x: Tensor) -> Tensor:
    parts = log_density(p.component_distribution, x.unsqueeze(-1 - len(p.event_shape)))
    weights = p.mixture_distribution
    parts = parts + (log(weights.probs) if _by_probs(weights) else weights.logits)
    none = (parts == -torch.inf).all(-1, keepdim=True)  # a logarithm of their sum has no gradient there
    return parts.masked_fill(none, 0.0).logsumexp(-1).masked_fill(none[..., 0], -torch.inf)


@log_mass.register
def _(p: D.Categorical, x: Tensor) -> Tensor:
    return _of_class(log(p.probs) if _by_probs(p) else p.logits, x)


@log_mass.register
def _(p: D.OneHotCategorical, x: Tensor) -> Tensor:
    return log_mass(_classes(p), x.argmax(-1))


@log_mass.register
def _(p: D.Independent, x: Tensor) -> Tensor:
    return log_mass(p.base_dist, x).sum(tuple(range(-p.reinterpreted_batch_ndims, 0)))


@functools.singledispatch
def mass(p: Distribution, x: Tensor) -> Tensor:
    """p(x) of a distribution with finite support, differentiable in its probabilities even where they are 0.

    Example:
        >>> mass(D.Bernoulli(torch.tensor(1.0)), torch.tensor([0.0, 1.0]))
        tensor([0., 1.])
    """
    return p.log_prob(x).exp()


@mass.register
def _(p: D.Bernoulli, x: Tensor) -> Tensor:
    return x * p.probs + (1 - x) * (1 - p.probs)


@mass.register
def _(p: D.Binomial, x: Tensor) -> Tensor:
    return _log_choices(p, x).exp() * p.probs**x * (1 - p.probs) ** (p.total_count - x)


@mass.register
def _(p: D.Poisson, x: Tensor) -> Tensor:
    few = p.rate < 1  # its powers neither overflow nor hide a rate of 0
    of_few = torch.where(few, p.rate, 0.0)
    powers = of_few**x * (-of_few - (x + 1).lgamma()).exp()
    many = D.Poisson(torch.where(few, 1.0, p.rate), validate_args=False)
    return torch.where(few, powers, many.log_prob(x).exp())


@mass.register
def _(p: D.NegativeBinomial, x: Tensor) -> Tensor:
    return _log_repeats(p, x).exp() * p.probs**x * (1 - p.probs) ** p.total_count


@mass.register
def _(p: D.Geometric, x: Tensor) -> Tensor:
    return p.probs * (1 - p.probs) ** x


@mass.register
def _(p: D.Multinomial, x: Tensor) -> Tensor:
    return _log_orders(p, x).exp() * (p.probs**x).prod(-1)


@mass.register
def _(p: D.Categorical, x: Tensor) -> Tensor:
    return _of_class(p.probs, x)


@mass.register
def _(p: D.OneHotCategorical, x: Tensor) -> Tensor:
    return mass(_classes(p), x.argmax(-1))


def log(x: Tensor) -> Tensor:
    """log x with log 0 = −∞, whose gradient is zero there and not NaN in what is made of it."""
    return torch.where(x > 0, x, 1.0).log().masked_fill(x <= 0, -torch.inf)


def _by_probs(p: Distribution) -> bool:
    """Was p made from probabilities? They are exact then, and the logits clamped; otherwise logits are."""
    known = vars(p)
    return "probs" in known and known.get("_param", known["probs"]) is known["probs"]


def _log_chances(p: Distribution) -> tuple[Tensor, Tensor]:
    """log of the probabilities of success and of failure."""
    if not _by_probs(p):
        return logsigmoid(p.logits), logsigmoid(-p.logits)
    sure = p.probs >= 1
    return log(p.probs), torch.where(sure, 0.0, -p.probs).log1p().masked_fill(sure, -torch.inf)


def _times(count: Tensor, logarithm: Tensor) -> Tensor:
    """count · logarithm, with 0 · −∞ = 0."""
    return torch.where(count == 0, 0.0, count * torch.where(count == 0, 0.0, logarithm))


def _log_choices(p: D.Binomial, x: Tensor) -> Tensor:
    n = p.total_count
    return (n + 1).lgamma() - (x + 1).lgamma() - (n - x + 1).lgamma()


def _log_repeats(p: D.NegativeBinomial, x: Tensor) -> Tensor:
    n = p.total_count
    return (n + x).lgamma() - (x + 1).lgamma() - n.lgamma()


def _log_orders(p: D.Multinomial, x: Tensor) -> Tensor:
    return math.lgamma(p.total_count + 1) - (x + 1).lgamma().sum(-1)


def _classes(p: D.OneHotCategorical) -> D.Categorical:
    return D.Categorical(probs=p.probs) if _by_probs(p._categorical) else D.Categorical(logits=p.logits)


def _of_class(values: Tensor, x: Tensor) -> Tensor:
    """The value of each class in x."""
    index, values = torch.broadcast_tensors(x.long()[..., None], values)
    return values.gather(-1, index[..., :1])[..., 0]


def weigh(log_weight: Tensor, x: Tensor) -> Tensor:
    """e^log_weight · x, and 0 where the weight is 0, or too small to be told from it, whatever x is."""
    weight = log_weight.exp()
    return weight * x.masked_fill(weight == 0, 0.0)


def tilt(log_p: Tensor, log_q: Tensor, order: float) -> Tensor:
    """p^a q^(1-a), and 0 where both are 0."""
    neither = (log_p == -torch.inf) & (log_q == -torch.inf)
    exponent = order * log_p.masked_fill(neither, 0.0) + (1 - order) * log_q.masked_fill(neither, 0.0)
    return exponent.exp().masked_fill(neither, 0.0)
