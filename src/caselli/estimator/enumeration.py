"""The exact gradient, by visiting every state."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributions as D
from torch.distributions import Distribution

from caselli.errors import UserError
from caselli.estimator.base import Estimate, Estimator, Function
from caselli.estimator.parameters import unwrap
from caselli.estimator.relaxation import log_prob

ENUMERABLE = (D.Bernoulli, D.Categorical, D.OneHotCategorical, D.Binomial)
"""The families with finitely many states."""


class Enumeration(Estimator):
    r"""The sum over all states, without noise.

    .. math:: g = \nabla_\theta \sum_z p_\theta(z) f(z)

    Exact. Cost: as many evaluations of f as an event has states (2ⁿ for n Bernoulli latents), whatever the
    number of samples.

    Arguments:
        limit: the most states; more are refused with a `UserError`.

    Example:
        >>> logit = torch.zeros((), requires_grad=True)
        >>> p = torch.distributions.Bernoulli(logits=logit)
        >>> estimate = Enumeration()(lambda z: (z - 0.45) ** 2, p)
        >>> torch.autograd.grad(estimate.surrogate, logit)[0]
        tensor(0.0250)
    """

    unbiased = True
    needs_gradient = False
    serves = ENUMERABLE

    def __init__(self, limit: int = 2**20) -> None:
        super().__init__()
        self.limit = limit

    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        if state_count(p) > self.limit:
            raise UserError(
                f"an event with {state_count(p)} states was given",
                f"at most {self.limit} were expected",
                "use score, or raise the limit",
            )
        z = states(p)
        values = self._evaluate(f, p, z)
        value = (log_prob(p, z).exp() * values).sum(0).to(values.dtype)
        return Estimate(value.detach(), value.sum(), value.new_zeros(()))

    def evaluations(self, p: Distribution, samples: int) -> int:
        """The number of states."""
        return state_count(p)


def state_count(p: Distribution) -> int:
    """Number of states of one event of p.

    Example:
        >>> state_count(D.Independent(D.Bernoulli(logits=torch.zeros(5, 3)), 1))
        8
    """
    return len(_atoms(p)) ** _places(p)


def states(p: Distribution) -> Tensor:
    """Every state of an event, for every batch element: `states *batch *event`."""
    atoms, places = _atoms(p), _places(p)
    index = torch.arange(len(atoms) ** places, device=atoms.device)
    powers = len(atoms) ** torch.arange(places - 1, -1, -1, device=atoms.device)
    digits = index[:, None] // powers % len(atoms)
    z = atoms[digits].reshape(len(index), *[1] * len(p.batch_shape), *p.event_shape)
    return z.expand(len(index), *p.batch_shape, *p.event_shape)


def _atoms(p: Distribution) -> Tensor:
    base = unwrap(p)
    support = base.enumerate_support(expand=False)
    return support.reshape(len(support), *base.event_shape)


def _places(p: Distribution) -> int:
    """Number of independent draws of the base that make one event."""
    return max(1, p.event_shape.numel()) // max(1, unwrap(p).event_shape.numel())
