"""Divergences of two densities as one integral, by the best method that the pair allows."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from caselli.divergence.base import Distance, Divergence, Need, require
from caselli.divergence.counts import atoms
from caselli.divergence.log_density import log_density, log_mass, mass
from caselli.divergence.quadrature import integrable, integrate
from caselli.errors import UserError

METHODS = ("closed form", "sum", "quadrature", "monte carlo")
"""The methods in order of preference."""
GROWING = 1e-6
"""A sum whose last term, where neither side has mass any more, has this share of it has no end."""


class DensityDivergence(Divergence):
    r"""A function of one integral :math:`\int h(\log p, \log q)\,dx`.

    Closed forms where they are known, a sum over a finite support or over counts, quadrature in one
    dimension, and Monte Carlo otherwise: half the samples from each side, weighed by the mixture's density,
    so that no weight is large and the gradient in both sides is unbiased without reparameterisation.

    Arguments:
        method: one of `METHODS`; by default the first that the pair allows.
        samples: number of Monte Carlo samples, half from each side.
    """

    needs = Need.TWO_DENSITIES
    kinked: ClassVar[bool] = False
    """True where h has a kink at p = q, which quadrature then splits at."""
    bounded: ClassVar[bool] = False
    """True where no two distributions are infinitely far apart."""
    at_zero: tuple[float, float] = (-math.inf, -math.inf)
    """∂h/∂p where p = 0 and q > 0, and ∂h/∂q where q = 0 and p > 0."""

    def __init__(self, *, method: str | None = None, samples: int = 10_000) -> None:
        if method is not None and method not in METHODS:
            raise UserError(f"method {method!r} was given", f"one of {', '.join(METHODS)} was expected")
        self.method, self.samples = method, samples

    @abstractmethod
    def integrand(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """h, homogeneous: adding c to both logarithms multiplies it by eᶜ."""

    def transform(self, integral: Tensor) -> Tensor:
        """The divergence from the integral."""
        return integral

    def closed_form(self, p: Distribution, q: Distribution) -> Tensor | None:
        """The divergence itself where a formula is known."""
        return None

    def __call__(self, p: Distribution, q: Distribution) -> Distance:
        """The divergence of P from Q, `*batch`.

        Raises:
            UserError: not two densities, different event shapes, or a method that the pair does not allow.
        """
        require(self, p, q)
        if p.event_shape != q.event_shape:
            raise UserError(
                f"event shapes {tuple(p.event_shape)} and {tuple(q.event_shape)} were given",
                "equal ones were expected",
            )
        p, q = _in_one_batch(p, q)
        tried = METHODS if self.method is None else (self.method,)
        for method in tried:
            if (found := self._try(method, p, q)) is not None:
                return found
        raise UserError(
            f"a {type(p).__name__} and a {type(q).__name__} were given", f"they have no {self.method}"
        )

    def _try(self, method: str, p: Distribution, q: Distribution) -> Distance | None:
        if method == "monte carlo":
            return self._monte_carlo(p, q)
        value = {"closed form": self.closed_form, "sum": self._sum, "quadrature": self._quadrature}[method](
            p, q
        )
        return None if value is None else Distance(value, torch.zeros_like(value.detach()), method)

    def _sum(self, p: Distribution, q: Distribution) -> Tensor | None:
        if (whole := atoms(p, q)) is not None:
            terms = self.of_masses(*self._sides(p, q, whole))
            total = terms.sum(0)
            endless = (terms[-1] > GROWING * total.abs()) & (not p.event_shape) & (len(terms) > 1)
            return self.transform(torch.where(endless, torch.inf, total))
        if not (p.has_enumerate_support and q.has_enumerate_support):
            return None
        try:
            points, others = (d.enumerate_support(expand=False) for d in (p, q))
        except NotImplementedError:  # of `Independent`: a product of supports
            return None
        if len(points) != len(others):
            raise UserError(
                f"supports of {len(points)} and {len(others)} were given", "equal ones were expected"
            )
        return self.transform(self.of_masses(*self._sides(p, q, points)).sum(0))

    @staticmethod
    def _sides(p: Distribution, q: Distribution, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return mass(p, points), mass(q, points), log_mass(p, points), log_mass(q, points)

    def of_logs(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """h of logarithms that may be −∞, without NaN in the gradient."""
        return self.of_masses(log_p.exp(), log_q.exp(), log_p, log_q)

    def of_masses(self, p: Tensor, q: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
        """h of masses that may be zero, with the gradient that it has there."""
        edge = (log_p == -torch.inf) | (log_q == -torch.inf)
        if not edge.any():
            return self.integrand(log_p, log_q)
        p, q, log_p, log_q, edge = torch.broadcast_tensors(p, q, log_p, log_q, edge)
        inner = self.integrand(log_p.masked_fill(edge, 0.0), log_q.masked_fill(edge, 0.0))
        return torch.where(edge, _Edge.apply(p, q, log_p.detach(), log_q.detach(), self), inner)

    def _quadrature(self, p: Distribution, q: Distribution) -> Tensor | None:
        if not (integrable(p) and integrable(q)):
            return None
        return self.transform(integrate(p, q, self.of_logs, self.kinked, self.bounded))

    def _monte_carlo(self, p: Distribution, q: Distribution) -> Distance:
        half = max(2, self.samples // 2)
        with torch.no_grad():
            x = torch.cat([p.sample((half,)), q.sample((half,))])
        log_p, log_q = log_density(p, x), log_density(q, x)
        log_m = (torch.logaddexp(log_p, log_q) - math.log(2)).detach()
        from_p, from_q = self.of_logs(log_p - log_m, log_q - log_m).chunk(2)
        integral = (from_p.mean(0) + from_q.mean(0)) / 2
        error = ((from_p.var(0) + from_q.var(0)) / half).sqrt().detach() / 2
        return Distance(self.transform(integral), error * self._slope(integral), "monte carlo")

    def _slope(self, integral: Tensor) -> Tensor:
        """|d transform / d integral|, for the standard error."""
        with torch.enable_grad():
            leaf = integral.detach().requires_grad_()
            return torch.autograd.grad(self.transform(leaf).sum(), leaf)[0].abs()


class _Edge(torch.autograd.Function):
    """h of two masses of which one or both are zero.

    h is homogeneous, so it is linear there: its slopes are h(1, 0) or h(0, 1) in the mass that is left, and
    `at_zero` in the other. An infinite slope is given as a large number, the root of the largest, so that
    nothing becomes NaN where it meets a zero: probabilities are normalised, and 0 · ∞ would reach those that
    have a finite gradient. Where both masses are zero h has a corner, and its slope is taken as zero.
    """

    @staticmethod
    def forward(
        context: Any, p: Tensor, q: Tensor, log_p: Tensor, log_q: Tensor, divergence: DensityDivergence
    ) -> Tensor:
        context.save_for_backward(log_p == -torch.inf, log_q == -torch.inf)
        context.divergence = divergence
        return divergence.integrand(log_p, log_q)

    @staticmethod
    def backward(context: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        no_p, no_q = context.saved_tensors
        one, none = slope.new_zeros(()), slope.new_full((), -torch.inf)
        in_p = torch.where(no_p, context.divergence.at_zero[0], context.divergence.integrand(one, none))
        in_q = torch.where(no_q, context.divergence.at_zero[1], context.divergence.integrand(none, one))
        large = torch.finfo(slope.dtype).max ** 0.5
        found = [(slope * side).nan_to_num(0.0, large, -large) for side in (in_p, in_q)]
        return *(side.masked_fill(no_p & no_q, 0.0) for side in found), None, None, None


def _in_one_batch(p: Distribution, q: Distribution) -> tuple[Distribution, Distribution]:
    """Both with the batch shape of both together."""
    try:
        shape = torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    except RuntimeError:
        raise UserError(
            f"batch shapes {tuple(p.batch_shape)} and {tuple(q.batch_shape)} were given",
            "shapes that broadcast were expected",
        ) from None
    return tuple(d if d.batch_shape == shape else d.expand(shape) for d in (p, q))
