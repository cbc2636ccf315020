"""Estimators side by side: a table and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch.distributions import Distribution

from caselli.errors import UnknownName
from caselli.estimator.base import Estimator
from caselli.estimator.measure import Measurement, measure
from caselli.estimator.problems import PROBLEMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def comparison(
    problem: str = "bernoulli",
    estimators: Sequence[str] | None = None,
    samples: int = 1,
    repeats: int = 10_000,
    **settings: int,
) -> list[Measurement]:
    """Measures estimators on a named problem.

    Arguments:
        problem: a name in `PROBLEMS`.
        estimators: names in `ESTIMATORS`; by default all that serve the problem.
        samples: for each estimate.
        repeats: independent estimates.
        settings: further ones of `measure`.

    Example:
        >>> [m.name for m in comparison("gaussian", repeats=50, reference_samples=100)]
        ['pathwise', 'score', 'nvil', 'vimco', 'lax', 'measure_valued']
    """
    if problem not in PROBLEMS:
        raise UnknownName("problem", problem, PROBLEMS)
    made = PROBLEMS[problem]()
    return measure(made.f, made.p, estimators or applicable(made.p), samples, repeats, **settings)


def applicable(p: Distribution) -> list[str]:
    """Names of the estimators that serve p; enumeration where it has at most a thousand states.

    Example:
        >>> applicable(PROBLEMS["bernoulli"]().p)[:4]
        ['score', 'nvil', 'vimco', 'rebar']
    """
    from caselli.estimator import ESTIMATORS  # the door imports this file

    return [name for name, kind in ESTIMATORS.items() if _affordable(kind(), p)]


def _affordable(estimator: Estimator, p: Distribution) -> bool:
    return estimator.accepts(p) and estimator.evaluations(p, 1) <= 1000


def table(measurements: Sequence[Measurement]) -> str:
    """The measurements as text, one row an estimator.

    Bias is marked `*` where it exceeds five times what chance explains.

    Example:
        >>> print(table(comparison("bernoulli", ["disarm"], repeats=100)).splitlines()[0])
        estimator               claims    calls  bias                    variance   cosine
    """
    head = f"{'estimator':<24}{'claims':<10}{'calls':<7}{'bias':<24}{'variance':<11}cosine"
    return "\n".join([head, *map(_row, measurements)])


def _row(m: Measurement) -> str:
    claims = "unbiased" if m.unbiased else "biased"
    rounding = 1e-6 * m.truth.norm().item()
    mark = " *" if m.bias > 5 * m.bias_error + rounding else ""
    bias = f"{m.bias:.2e} ± {m.bias_error:.0e}{mark}"
    return f"{m.name:<24}{claims:<10}{m.evaluations:<7}{bias:<24}{m.variance:<11.3e}{m.cosine:.3f}"


def plot(measurements: Sequence[Measurement]) -> Figure:
    """Squared bias and variance of every estimator as bars on a logarithmic scale.

    Example:
        >>> type(plot(comparison("bernoulli", ["arm", "disarm"], repeats=10))).__name__
        'Figure'
    """
    from matplotlib.figure import Figure  # loads slowly

    figure = Figure(figsize=(8, 0.4 * len(measurements) + 1.2), layout="constrained")
    axes = figure.subplots()
    rows = range(len(measurements))
    floor = 1e-12  # an exact estimator has no bar on a logarithmic scale
    axes.barh([r - 0.2 for r in rows], [max(m.variance, floor) for m in measurements], 0.4, label="variance")
    axes.barh(
        [r + 0.2 for r in rows], [max(m.bias**2, floor) for m in measurements], 0.4, label="squared bias"
    )
    axes.set_yticks(list(rows), [f"{m.name} ({m.evaluations})" for m in measurements])
    axes.set(xscale="log", xlabel="squared error of one estimate (calls of f in brackets)")
    axes.invert_yaxis()
    axes.legend()
    return figure
