"""Bias, variance, direction and cost of estimators on one's own f."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

from caselli.errors import UserError, lookup
from caselli.estimator.base import Estimate, Estimator, Function
from caselli.estimator.enumeration import ENUMERABLE, state_count, states
from caselli.estimator.implicit import reparameterised
from caselli.estimator.parameters import leaves, unwrap, with_parameters
from caselli.estimator.pathwise import Pathwise
from caselli.estimator.relaxation import log_prob
from caselli.estimator.score import Score
from caselli.estimator.vimco import VIMCO

CHUNK = 2**20
"""Numbers in the samples of one call of f, about."""
STATES = 2**14
"""The most joint states that are enumerated for the truth."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One estimator on one problem. Gradients are with respect to p's own parameters (logits, loc, ...)."""

    name: str
    unbiased: bool
    """The estimator's own claim."""
    samples: int
    evaluations: int
    """Evaluations of f for one estimate."""
    gradient: Tensor
    """`n`: the mean estimate over all repeats."""
    error: Tensor
    """`n`: the standard error of `gradient`."""
    truth: Tensor
    """`n`: the true gradient of the estimator's objective."""
    truth_error: Tensor
    """`n`: the standard error of `truth`, zero where it is exact."""
    bias: float
    """The norm of gradient - truth."""
    bias_error: float
    """Root mean square of the norm that chance alone would give."""
    variance: float
    """Variance of one estimate, summed over the parameters."""
    cosine: float
    """The mean cosine of one estimate to the true gradient."""


def measure(
    f: Function,
    p: Distribution,
    estimators: Sequence[str] | Mapping[str, Estimator],
    samples: int = 1,
    repeats: int = 10_000,
    *,
    training_steps: int = 200,
    reference_samples: int = 1_000_000,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Measures estimators on f and p, one after another; changes neither their gradients nor the given ones.

    The truth is exact by enumeration where p has few enough states. Else it is a long run: of the pathwise
    estimator where p and f allow it, of the score function where not. Repeats run side by side, as batch
    elements, so f must accept any number of axes in front.

    Arguments:
        f: `n *batch *event` → `n *batch`.
        p: a distribution of a family that `parameters` knows.
        estimators: names, or a mapping from names of one's choice to estimators; those are measured as they
            are, in evaluation mode.
        samples: for each estimate; raised to an estimator's least number.
        repeats: independent estimates.
        training_steps: steps of Adam on `auxiliary_loss` before measuring, for those with parameters or
        averages of their own.
        reference_samples: samples of the long run.
        seed: seed of the long run and of each estimator, whose figures do not depend on the others.

    Example:
        >>> from caselli.estimator.problems import bernoulli
        >>> problem = bernoulli()
        >>> found = list(measure(problem.f, problem.p, ["score", "disarm"], repeats=1000))
        >>> [(m.name, m.evaluations) for m in found]
        [('score', 1), ('disarm', 2)]
        >>> found[1].bias < 1e-12 and found[1].variance < 1e-20  # exact at logit 0
        True
    """
    if repeats < 2:
        raise UserError(f"repeats {repeats} were given", "at least 2 were expected")
    truths: dict[tuple[str, int], tuple[Tensor, Tensor]] = {}
    for name in estimators:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            estimator = _made(name, estimators, p)
            count = max(samples, estimator.least_samples)
            _train(estimator, f, p, count, training_steps)
            rows = gradients(estimator, f, p, count, repeats)
            key = (estimator.objective, count if estimator.objective != "mean" else 1)
            torch.manual_seed(seed + 1)  # another stream than the estimates', whose error it would share
            if key not in truths:
                truths[key] = true_gradient(f, p, *key, reference_samples)
        yield _measurement(name, estimator, p, count, rows, truths[key])


def gradients(estimator: Estimator, f: Function, p: Distribution, samples: int, repeats: int) -> Tensor:
    """Independent estimates as rows, `repeats n`: the gradients with respect to all of p's parameters.

    Example:
        >>> from caselli.estimator.problems import gaussian
        >>> gradients(Score(), gaussian().f, gaussian().p, samples=1, repeats=5).shape
        torch.Size([5, 2])
    """
    numbers = estimator.evaluations(p, samples) * max(1, (p.batch_shape + p.event_shape).numel())
    block = max(1, CHUNK // numbers)
    was_training = estimator.training
    estimator.eval()
    rows = [_rows(estimator, f, p, samples, min(block, repeats - at)) for at in range(0, repeats, block)]
    estimator.train(was_training)
    return torch.cat(rows)


def true_gradient(
    f: Function, p: Distribution, objective: str = "mean", count: int = 1, reference_samples: int = 1_000_000
) -> tuple[Tensor, Tensor]:
    """The gradient of E[f], or of E[log mean exp f] over `count` samples, and its standard error (0: exact).

    Example:
        >>> from caselli.estimator.problems import bernoulli
        >>> true_gradient(bernoulli().f, bernoulli().p)[0]
        tensor([0.0250], dtype=torch.float64)
    """
    if isinstance(unwrap(p), ENUMERABLE) and state_count(p) ** count <= STATES:
        exact = _rows(_JointEnumeration(objective, count), f, p, 1, 1)[0]
        return exact, torch.zeros_like(exact)
    least = count if objective != "mean" else 2
    rows = gradients(_reference(f, p, objective), f, p, least, max(2, reference_samples // least))
    return rows.mean(0), _standard_error(rows)


class _JointEnumeration(Estimator):
    """Enumeration of the joint states of `count` samples, for the objectives of several samples."""

    unbiased = True
    needs_gradient = False
    serves = ENUMERABLE

    def __init__(self, objective: str, count: int) -> None:
        super().__init__()
        self.objective, self.count = objective, count

    def estimate(self, f: Function, p: Distribution, samples: int, context: Tensor | None) -> Estimate:
        z = states(p)
        values, log_p = self._evaluate(f, p, z), log_prob(p, z)
        index = torch.arange(len(z), device=z.device)
        tuples = torch.cartesian_prod(*[index] * self.count).reshape(-1, self.count)
        joint = values[tuples].logsumexp(1) - math.log(self.count)
        joint = values[tuples].mean(1) if self.objective == "mean" else joint
        value = (log_p[tuples].sum(1).exp() * joint).sum(0)
        return Estimate(value.detach(), value.sum(), value.new_zeros(()))


def _reference(f: Function, p: Distribution, objective: str) -> Estimator:
    """The unbiased estimator that a long run uses."""
    if objective != "mean":
        return VIMCO()
    if reparameterised(p):
        z = p.sample((1,)).requires_grad_()
        if f(z).requires_grad:
            return Pathwise()
    return Score("leave_one_out")


def _rows(estimator: Estimator, f: Function, p: Distribution, samples: int, repeats: int) -> Tensor:
    copies = leaves(p, (repeats,))
    with torch.enable_grad():
        surrogate = estimator(f, with_parameters(p, copies), samples).surrogate
        found = torch.autograd.grad(surrogate, list(copies.values()), allow_unused=True)
    pairs = zip(copies.values(), found, strict=True)
    return torch.cat([(torch.zeros_like(w) if g is None else g).reshape(repeats, -1) for w, g in pairs], 1)


def _made(name: str, estimators: Sequence[str] | Mapping[str, Estimator], p: Distribution) -> Estimator:
    from caselli.estimator import ESTIMATORS  # the door imports this file

    if isinstance(estimators, Mapping):
        return copy.deepcopy(estimators[name])
    kind = lookup(ESTIMATORS, "estimator", name)
    # Built plainly for a family that it refuses: the refusal then comes from the estimator itself.
    return kind.fitting(p) if isinstance(unwrap(p), kind.serves) else kind()


def _train(estimator: Estimator, f: Function, p: Distribution, samples: int, steps: int) -> None:
    """Fits the estimator's own parameters and averages to f and p, over a batch of copies of p."""
    own = list(estimator.parameters())
    adam = torch.optim.Adam(own, lr=1e-2) if own else None
    if not list(estimator.state_dict()):
        return
    estimator.train()
    for _ in range(steps):
        loss = estimator(f, with_parameters(p, leaves(p, (64,))), samples).auxiliary_loss
        if adam is not None:
            adam.zero_grad()
            loss.backward()
            adam.step()


def _measurement(
    name: str, estimator: Estimator, p: Distribution, samples: int, rows: Tensor, truth: tuple[Tensor, Tensor]
) -> Measurement:
    gradient, error = rows.mean(0), _standard_error(rows)
    return Measurement(
        name=name,
        unbiased=estimator.unbiased,
        samples=samples,
        evaluations=estimator.evaluations(p, samples),
        gradient=gradient,
        error=error,
        truth=truth[0],
        truth_error=truth[1],
        bias=(gradient - truth[0]).norm().item(),
        bias_error=(error.square() + truth[1].square()).sum().sqrt().item(),
        variance=rows.var(0).sum().item(),
        cosine=torch.cosine_similarity(rows, truth[0][None], -1).mean().item(),
    )


def _standard_error(rows: Tensor) -> Tensor:
    return rows.std(0) / math.sqrt(len(rows))
