"""The contract of every divergence: what it needs, and the record it returns."""

from __future__ import annotations

import dataclasses
import enum
from abc import ABC
from typing import Any, ClassVar, Self

import torch
from torch.distributions import Distribution

import caselli.divergence as room  # the door's table is whole by the time that this is called
from caselli.errors import UserError, lookup
from caselli.shapes import Float, Tensor


class Need(enum.Enum):
    """Knowledge of the two sides that a divergence asks for."""

    TWO_DENSITIES = "two densities"
    DENSITY_AND_SAMPLES = "samples and a density"
    TWO_SAMPLES = "two sets of samples"
    CRITIC = "two sets of samples and a critic"


@dataclasses.dataclass(frozen=True)
class Distance:
    """The value of a divergence, and how it was found."""

    value: Float[Tensor, "..."]
    """Differentiable in both sides; `*batch` for densities, a scalar for samples."""
    standard_error: Float[Tensor, "..."]
    """Standard error of `value`, detached; zero where nothing was sampled."""
    method: str
    """`closed form`, `sum`, `quadrature`, `monte carlo` or `samples`."""


class Divergence(ABC):
    """A number that is zero when two distributions agree.

    The order of arguments is (P, Q); P is the data and Q the model when one is fitted to the other.
    """

    needs: ClassVar[Need]
    """Kind of arguments that the divergence takes."""
    symmetric: ClassVar[bool]
    """True where (P, Q) and (Q, P) give the same."""

    @classmethod
    def of_any_scale(cls, *arguments: Any, **options: Any) -> Self:
        """One with these arguments that, where they leave it open, follows the scale of what it compares: for
        data and networks whose scale nobody knows."""
        return cls(*arguments, **options)


_KINDS = {
    ("density", "density"): Need.TWO_DENSITIES,
    ("samples", "density"): Need.DENSITY_AND_SAMPLES,
    ("samples", "samples"): Need.TWO_SAMPLES,
}


def require(divergence: Divergence, p: object, q: object) -> None:
    """A `UserError` that names what would fit, where p and q are not what the divergence needs."""
    given = (_kind(p), _kind(q))
    if _KINDS.get(given) is divergence.needs:
        return
    fitting = names_that_need(_KINDS[given]) if given in _KINDS else []
    remedy = (
        f"these fit: {', '.join(fitting)}" if fitting else "give the samples first and the density second"
    )
    if "density" in given and divergence.needs is Need.TWO_SAMPLES:
        remedy = f"draw samples from the density, p.sample((n,)); {remedy}"
    name = type(divergence).__name__
    raise UserError(f"{given[0]} and {given[1]} were given", f"{name} needs {divergence.needs.value}", remedy)


def names_that_need(*needs: Need) -> list[str]:
    """Names of the divergences with one of these needs.

    Example:
        >>> names_that_need(Need.DENSITY_AND_SAMPLES)
        ['maximum_likelihood']
    """
    return [name for name, kind in room.DIVERGENCES.items() if kind.needs in needs]


def fitting(*, density: bool, samples: bool) -> list[str]:
    """Names of the divergences that can fit a model to data, by what the model offers.

    Arguments:
        density: true if the model's log density can be computed.
        samples: true if it can be sampled with gradients.

    Example:
        >>> fitting(density=True, samples=False)
        ['maximum_likelihood']
    """
    needs = [Need.DENSITY_AND_SAMPLES] * density + [Need.TWO_SAMPLES, Need.CRITIC] * samples
    return names_that_need(*needs)


def check_fit(name: str, *, density: bool, samples: bool) -> None:
    """A `UserError` where a model that offers this cannot be fitted to data by the named divergence.

    Example:
        >>> check_fit("mmd", density=False, samples=True)
    """
    need = lookup(room.DIVERGENCES, "divergence", name).needs
    names = fitting(density=density, samples=samples)
    if name not in names:
        offers = " and ".join(["a density"] * density + ["samples"] * samples) or "nothing"
        raise UserError(
            f"a model with {offers} and data were given",
            f"{name} needs {need.value}",
            f"these fit: {', '.join(names) or 'none'}",
        )


def _kind(x: object) -> str:
    if isinstance(x, Distribution):
        return "density"
    if isinstance(x, torch.Tensor):
        return "samples"
    raise UserError(
        f"a {type(x).__name__} was given", "a torch distribution or a tensor of samples was expected"
    )
