"""A distribution taken apart: its base, its parameters, the same family with other parameters."""

from __future__ import annotations

import torch
from torch import distributions as D

from caselli.errors import UserError
from caselli.shapes import Float, Tensor

PARAMETERS: dict[type[D.Distribution], tuple[str, ...]] = {
    D.Bernoulli: ("logits",),
    D.Categorical: ("logits",),
    D.OneHotCategorical: ("logits",),
    D.Geometric: ("logits",),
    D.Poisson: ("rate",),
    D.Normal: ("loc", "scale"),
    D.LogNormal: ("loc", "scale"),
    D.Laplace: ("loc", "scale"),
    D.Cauchy: ("loc", "scale"),
    D.Gumbel: ("loc", "scale"),
    D.StudentT: ("df", "loc", "scale"),
    D.VonMises: ("loc", "concentration"),
    D.HalfNormal: ("scale",),
    D.HalfCauchy: ("scale",),
    D.Exponential: ("rate",),
    D.Gamma: ("concentration", "rate"),
    D.Beta: ("concentration1", "concentration0"),
    D.Dirichlet: ("concentration",),
    D.Weibull: ("scale", "concentration"),
    D.Kumaraswamy: ("concentration1", "concentration0"),
    D.Uniform: ("low", "high"),
    D.MultivariateNormal: ("loc", "scale_tril"),
}
"""The constructor's arguments that gradients are taken with respect to."""

FAMILIES = (*PARAMETERS, D.MixtureSameFamily)
"""The families that `parameters` can take apart, bare or wrapped in `Independent`."""


def unwrap(p: D.Distribution) -> D.Distribution:
    """The distribution inside any number of `Independent`.

    Example:
        >>> type(unwrap(D.Independent(D.Normal(torch.zeros(3), 1.0), 1))).__name__
        'Normal'
    """
    while isinstance(p, D.Independent):
        p = p.base_dist
    return p


def moving_support(p: D.Distribution) -> bool:
    """True where the values that can occur move with the parameters: then ∇∫pf is not ∫f∇p, and no estimator
    by the score is right.

    Example:
        >>> moving_support(D.Uniform(0.0, 1.0)), moving_support(D.Normal(0.0, 1.0))
        (True, False)
    """
    base = unwrap(p)
    while isinstance(base, D.MixtureSameFamily):
        base = unwrap(base.component_distribution)
    return isinstance(base, (D.Uniform, D.Pareto))


def names(base: D.Distribution) -> tuple[str, ...]:
    """The parameters' names of a bare family, or a `UserError` for a family that is not known."""
    for family, found in PARAMETERS.items():
        if isinstance(base, family):
            return found
    known = ", ".join(family.__name__ for family in FAMILIES)
    raise UserError(f"a {type(base).__name__} was given", f"one of {known} was expected")


def parameters(p: D.Distribution) -> dict[str, Tensor]:
    """The parameters by name; those of a mixture as `mixture.*` and `component.*`.

    Example:
        >>> parameters(D.Bernoulli(logits=torch.tensor([0.0, 1.0])))
        {'logits': tensor([0., 1.])}
    """
    base = unwrap(p)
    if isinstance(base, D.MixtureSameFamily):
        parts = {"mixture": base.mixture_distribution, "component": base.component_distribution}
        return {f"{part}.{k}": v for part, q in parts.items() for k, v in parameters(q).items()}
    return {name: getattr(base, name) for name in names(base)}


def with_parameters(p: D.Distribution, values: dict[str, Tensor]) -> D.Distribution:
    """A distribution of the family of p with other parameters; they may have more batch axes in front.

    Example:
        >>> q = with_parameters(D.Bernoulli(logits=torch.zeros(3)), {"logits": torch.ones(5, 3)})
        >>> q.batch_shape
        torch.Size([5, 3])
    """
    if isinstance(p, D.Independent):
        return D.Independent(
            with_parameters(p.base_dist, values), p.reinterpreted_batch_ndims, validate_args=False
        )
    if isinstance(p, D.MixtureSameFamily):
        return D.MixtureSameFamily(
            with_parameters(p.mixture_distribution, _below(values, "mixture")),
            with_parameters(p.component_distribution, _below(values, "component")),
            validate_args=False,
        )
    return type(p)(**values, validate_args=False)


def leaves(p: D.Distribution, copies: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """Fresh leaves with the values of p's parameters, repeated along new axes in front."""
    return {
        name: value.detach().expand((*copies, *value.shape)).clone().requires_grad_()
        for name, value in parameters(p).items()
    }


def features(p: D.Distribution) -> Float[Tensor, "..."]:
    """The parameters as one detached row for every batch element, infinite ones as large: `*batch P`."""
    rows = [value.detach().reshape(*p.batch_shape, -1) for value in parameters(p).values()]
    return torch.cat(rows, -1).clamp(-1e6, 1e6)


def sum_last(x: Tensor, axes: int) -> Tensor:
    """Sums over the last `axes` axes; none for 0."""
    return x.flatten(-axes).sum(-1) if axes else x


def append_axes(x: Tensor, axes: int) -> Tensor:
    """Adds `axes` axes of size one behind."""
    return x.reshape((*x.shape, *(1,) * axes))


def _below(values: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}."): v for name, v in values.items() if name.startswith(f"{part}.")}
