"""Reparameterised samples, those of mixtures by implicit differentiation of the distribution function."""

from __future__ import annotations

import torch
from torch import distributions as D

from caselli.errors import UserError
from caselli.estimator.parameters import parameters, unwrap, with_parameters
from caselli.shapes import Float, Tensor

SMOOTH = (D.Normal, D.LogNormal, D.Laplace, D.Cauchy, D.Gumbel, D.HalfNormal, D.HalfCauchy, D.Exponential)
"""Component families whose `cdf` is differentiable in every parameter."""


def reparameterised(p: D.Distribution) -> bool:
    """True if `rsample` serves p."""
    base = unwrap(p)
    straight_through = isinstance(base, D.OneHotCategoricalStraightThrough)
    return isinstance(base, D.MixtureSameFamily) or (base.has_rsample and not straight_through)


def rsample(p: D.Distribution, samples: int) -> Float[Tensor, "..."]:
    """Samples `samples *batch *event` on the graph of p's parameters.

    Example:
        >>> weights = torch.distributions.Categorical(logits=torch.zeros(2, requires_grad=True))
        >>> parts = torch.distributions.Normal(torch.tensor([-1.0, 1.0]), 1.0)
        >>> rsample(torch.distributions.MixtureSameFamily(weights, parts), 5).requires_grad
        True
    """
    base = unwrap(p)
    return _mixture(base, samples) if isinstance(base, D.MixtureSameFamily) else p.rsample((samples,))


def _mixture(p: D.MixtureSameFamily, samples: int) -> Tensor:
    r"""Implicit reparameterisation of a mixture of univariate or axis-independent components.

    With the distribution functions F of one coordinate given those before it, :math:`F(z; θ) = u` is noise,
    so
    :math:`dz/dθ = -(∂F/∂θ) / p(z)`. Coordinates are taken in order; each weighs the components by what the
    coordinates before it (on the graph) say about them.
    """
    component = p.component_distribution
    kind = type(unwrap(component))
    if not issubclass(kind, SMOOTH) or len(p.event_shape) > 1:
        raise UserError(
            f"a mixture of {kind.__name__} with event shape {tuple(p.event_shape)} was given",
            f"components of {', '.join(k.__name__ for k in SMOOTH)} were expected, at most one event axis",
            "the score estimator serves every mixture",
        )
    with torch.no_grad():
        z = p.sample((samples,))
    if not p.event_shape:
        return _attach(z, p.mixture_distribution.logits, component)[0]
    log_weights, columns = p.mixture_distribution.logits, []
    for d, column in enumerate(z.unbind(-1)):
        attached, log_weights = _attach(column, log_weights, _column(component, d))
        columns.append(attached)
    return torch.stack(columns, -1)


def _attach(z: Tensor, log_weights: Tensor, component: D.Distribution) -> tuple[Tensor, Tensor]:
    """One coordinate `samples *batch` with its gradient, and the log weights `samples *batch K` after it."""
    weights = torch.softmax(log_weights, -1)
    level = (weights * component.cdf(z[..., None])).sum(-1)
    density = (weights * component.log_prob(z[..., None]).exp()).sum(-1).detach()
    attached = z - (level - level.detach()) / density.clamp_min(torch.finfo(z.dtype).tiny)
    return attached, log_weights + component.log_prob(attached[..., None])


def _column(component: D.Distribution, d: int) -> D.Distribution:
    """Coordinate d of independent components, `*batch K`."""
    return with_parameters(unwrap(component), {k: v[..., d] for k, v in parameters(component).items()})
