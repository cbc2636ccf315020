"""The laws of every divergence."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as D
from torch import nn

from caselli.divergence import (
    DIVERGENCES,
    CriticDivergence,
    DensityDivergence,
    Distance,
    Need,
    SampleDivergence,
    check_fit,
    fitting,
)
from caselli.errors import UnknownName, UserError
from tests.conformance.cases_divergence import DENSITIES, KWARGS, PAIRS

DOUBLE = torch.float64


def of(kind):
    return [name for name, entry in DIVERGENCES.items() if issubclass(entry, kind)]


def make(name, **kwargs):
    return DIVERGENCES[name](**{**KWARGS.get(name, {}), **kwargs})


def normal(mean, variance):
    return D.Normal(torch.tensor(mean, dtype=DOUBLE), torch.tensor(variance, dtype=DOUBLE).sqrt())


def categorical(*logits):
    return D.Categorical(logits=torch.tensor(logits, dtype=DOUBLE))


EQUALS = {
    "gaussian": normal(0.5, 2.0),
    "laplace": D.Laplace(torch.tensor(0.5, dtype=DOUBLE), torch.tensor(2.0, dtype=DOUBLE)),
    "categorical": categorical(0.0, 1.0, -1.0),
    "poisson": D.Poisson(torch.tensor(2.0, dtype=DOUBLE)),
}


BESIDE = {
    EQUALS["gaussian"]: (normal(0.6, 2.0), normal(0.5, 2.5)),
    EQUALS["laplace"]: (normal(0.5, 2.0), D.Laplace(EQUALS["laplace"].loc + 0.1, EQUALS["laplace"].scale)),
    EQUALS["categorical"]: (categorical(0.0, 1.0, -1.1), categorical(1.0, 0.0, -1.0)),
    EQUALS["poisson"]: (D.Poisson(EQUALS["poisson"].rate + 1), D.Poisson(EQUALS["poisson"].rate / 2)),
}


@pytest.mark.parametrize("name", of(DensityDivergence))
@pytest.mark.parametrize("p", EQUALS.values(), ids=EQUALS)
def test_densities_are_zero_at_equality_and_positive_beside_it(name, p):
    torch.manual_seed(0)
    found = make(name)(p, p)
    assert type(found) is Distance and found.value.abs() < 1e-9
    assert found.standard_error.shape == found.value.shape
    for other in BESIDE[p]:
        assert make(name)(p, other).value > 1e-6


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("pair", range(len(PAIRS)))
@pytest.mark.parametrize("method", [None, "quadrature"])
def test_golden_values_to_eight_digits(name, pair, method):
    found = make(name, method=method)(normal(0.0, 1.0), normal(*PAIRS[pair]))
    assert abs(found.value.item() - DENSITIES[name][pair]) < 6e-9


@pytest.mark.parametrize("name", of(DensityDivergence))
@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_all_methods_agree(name, pair):
    """Closed form, quadrature, and Monte Carlo within five standard errors."""
    p, q = normal(0.0, 2.5), normal(*pair)
    exact = make(name, method="quadrature")(p, q)
    assert torch.allclose(make(name)(p, q).value, exact.value, atol=1e-8)
    drawn = make(name, method="monte carlo", samples=200_000)(p, q)
    assert drawn.method == "monte carlo" and drawn.standard_error > 0
    if exact.value.isfinite():
        assert (drawn.value - exact.value).abs() < 5 * drawn.standard_error


@pytest.mark.parametrize("name", of(DensityDivergence))
@pytest.mark.parametrize("method", [None, "quadrature", "monte carlo"])
def test_gradients_are_those_of_differences(name, method):
    mean = torch.tensor(0.4, dtype=DOUBLE, requires_grad=True)
    width = torch.tensor(1.05, dtype=DOUBLE, requires_grad=True)
    p = normal(0.0, 1.0)
    found = make(name, method=method, samples=400_000)(p, D.Normal(mean, width)).value
    slopes = torch.autograd.grad(found, (mean, width))
    exact = make(name)

    def at(m, s):
        return exact(p, D.Normal(torch.tensor(m, dtype=DOUBLE), torch.tensor(s, dtype=DOUBLE))).value.item()

    h = 1e-5
    differences = (
        (at(0.4 + h, 1.05) - at(0.4 - h, 1.05)) / (2 * h),
        (at(0.4, 1.05 + h) - at(0.4, 1.05 - h)) / (2 * h),
    )
    tolerance = 0.03 if method == "monte carlo" else 1e-6
    for slope, difference in zip(slopes, differences, strict=True):
        assert abs(slope.item() - difference) < tolerance * max(1, 4 * abs(difference))


@pytest.mark.parametrize("name", of(DensityDivergence))
def test_directions(name):
    p, q = normal(0.0, 1.0), normal(0.5, 2.0)
    forward, backward = make(name)(p, q).value, make(name)(q, p).value
    assert torch.allclose(forward, backward, atol=1e-9) == DIVERGENCES[name].symmetric


@pytest.mark.parametrize("name", of(DensityDivergence))
def test_batches_of_densities(name):
    p = D.Normal(torch.zeros(3, dtype=DOUBLE), torch.ones(3, dtype=DOUBLE))
    q = D.Laplace(torch.tensor([0.0, 1.0, 2.0], dtype=DOUBLE), torch.full((3,), 0.8, dtype=DOUBLE))
    found = make(name, method="quadrature")(p, q).value
    assert found.shape == (3,)
    for i in range(3):
        one = make(name, method="quadrature")(D.Normal(p.loc[i], p.scale[i]), D.Laplace(q.loc[i], q.scale[i]))
        assert torch.allclose(found[i], one.value, atol=1e-10)


@pytest.mark.parametrize("name", of(DensityDivergence))
def test_categorical_sums_are_the_loop(name):
    p, q = categorical(0.0, 1.0, -1.0), categorical(0.5, -0.3, 0.2)
    divergence = make(name)
    total = sum(divergence.integrand(p.probs[k].log(), q.probs[k].log()) for k in range(3))
    found = divergence(p, q)
    assert found.method == "sum"
    assert torch.allclose(found.value, divergence.transform(total), atol=1e-12)


@pytest.mark.parametrize("name", of(DensityDivergence))
def test_disjoint_supports_give_the_limit_not_nan(name):
    p, q = (D.Uniform(torch.tensor(a, dtype=DOUBLE), torch.tensor(a + 1, dtype=DOUBLE)) for a in (0.0, 2.0))
    limits = {"jensen_shannon": 0.69314718, "squared_hellinger": 2.0, "total_variation": 1.0}
    found = make(name, method="quadrature")(p, q).value
    # α = 0.3: (0 - 1) / (0.3 · -0.7)
    expected = {**limits, "alpha": 1 / 0.21}.get(name, float("inf"))
    assert torch.allclose(found, torch.tensor(expected, dtype=DOUBLE), atol=1e-8)


BOUNDARY = {
    "bernoulli": lambda w: D.Bernoulli(w[1]),
    "categorical": lambda w: D.Categorical(w),
    "one_hot": lambda w: D.OneHotCategorical(w),
    "binomial": lambda w: D.Binomial(3, w[1]),
    "poisson": lambda w: D.Poisson(w[1]),
    "geometric": lambda w: D.Geometric(w[1] / 2 + 0.5),
    "independent": lambda w: D.Independent(D.Bernoulli(w), 1),
}
"""Families whose probabilities may be zero, from a vector of probabilities."""
ON_IT = [
    ((1.0, 0.0), (0.0, 1.0)),
    ((1.0, 0.0), (0.3, 0.7)),
    ((0.3, 0.7), (0.0, 1.0)),
    ((0.0, 1.0), (0.0, 1.0)),
]
THREE = [
    ((0.0, 0.4, 0.6), (0.5, 0.0, 0.5)),
    ((0.0, 0.4, 0.6), (0.0, 0.5, 0.5)),
    ((0.0, 0.4, 0.6), (0.2, 0.3, 0.5)),
]
EDGES = [(f, p, q) for f in BOUNDARY for p, q in ON_IT + THREE * (f in ("categorical", "one_hot"))]


@pytest.mark.parametrize("name", of(DensityDivergence))
@pytest.mark.parametrize(("family", "p", "q"), EDGES)
def test_the_boundary_is_the_limit_from_inside_with_its_gradient(name, family, p, q):
    torch.manual_seed(0)
    divergence, build = make(name, samples=2000), BOUNDARY[family]
    sides = [torch.tensor(side, dtype=DOUBLE, requires_grad=True) for side in (p, q)]

    def at(*steps):
        """Both sides moved towards the even distribution."""
        moved = [(1 - h) * side + h / len(side) for h, side in zip(steps, sides, strict=True)]
        return divergence(*map(build, moved))

    found = at(0.0, 0.0)
    slopes = torch.autograd.grad(found.value, sides, allow_unused=True)
    assert not found.value.isnan() and not any(s.isnan().any() for s in slopes if s is not None)
    if found.method == "monte carlo":
        return
    near, nearer = (at(h, h).value.item() for h in (1e-7, 1e-13))
    if not found.value.isfinite():
        assert nearer > 3 and (near == math.inf or nearer > near + 0.1)  # or infinite inside too
        return
    assert abs(found.value.item() - nearer) < 1e-3
    middle = family == "binomial" and (p, q) == ON_IT[0]
    if middle or any(a == b == 0 for a, b in zip(p, q, strict=True)):
        return  # atoms without mass on either side: a corner of h, where it has no derivative
    for number, (side, slope) in enumerate(zip(sides, slopes, strict=True)):
        towards = (slope * (1 / len(side) - side.detach())).sum().item()
        wide, narrow = (
            ((at(*(h * (n == number) for n in (0, 1))).value - found.value) / h).item() for h in (1e-4, 1e-6)
        )
        if abs(wide - narrow) < 1e-2 * (1 + abs(narrow)):
            assert abs(towards - narrow) < 1e-2 * (1 + abs(narrow))


@pytest.mark.parametrize("name", ["kl", "jeffreys", "pearson", "reverse_kl"])
@pytest.mark.parametrize("given", ["probs", "logits"])
def test_certain_opposites_are_infinitely_far(name, given):
    ends = {"probs": (1.0, 0.0), "logits": (torch.inf, -torch.inf)}[given]
    sure, never = (D.Bernoulli(**{given: torch.tensor(end)}, validate_args=False) for end in ends)
    assert make(name)(sure, never).value == torch.inf
    assert make(name)(sure, sure).value == 0


CLOUDS = of(SampleDivergence)


@pytest.mark.parametrize("name", CLOUDS)
def test_samples_are_real_numbers_of_one_type(name):
    x = torch.randn(6, 1)
    for wrong in (torch.zeros(6, 1, dtype=torch.int64), x.double()):
        with pytest.raises(UserError, match="real numbers of one type were expected"):
            make(name)(x, wrong)
    if name == "sinkhorn":
        with pytest.raises(UserError, match="finite numbers were expected"):
            make(name)(x, x / 0)


@pytest.mark.parametrize("name", CLOUDS)
def test_samples_are_zero_at_equality(name):
    x = torch.randn(20, 1, dtype=DOUBLE)
    kwargs = {"unbiased": False} if name in ("mmd", "energy") else {}
    leaf = x.clone().requires_grad_()
    found = make(name, **kwargs)(x, leaf)
    assert type(found) is Distance and found.value.shape == ()
    assert found.value.abs() < 1e-12
    assert torch.autograd.grad(found.value, leaf)[0].abs().max() < 1e-6


@pytest.mark.parametrize("name", CLOUDS)
def test_samples_grow_with_a_shift_and_are_symmetric(name):
    dimensions = 1 if name == "wasserstein_1d" else 3
    x, noise = torch.randn(2, 64, dimensions, dtype=DOUBLE)
    values = [make(name)(x, noise + shift).value for shift in (0.0, 1.0, 2.0)]
    assert values[0] < values[1] < values[2]
    torch.manual_seed(0)
    forward = make(name)(x, noise + 1).value
    torch.manual_seed(0)
    assert torch.allclose(forward, make(name)(noise + 1, x).value, atol=1e-6)


@pytest.mark.parametrize("name", CLOUDS)
def test_gradients_of_samples(name):
    dimensions = 1 if name == "wasserstein_1d" else 2
    x, y = torch.randn(5, dimensions, dtype=DOUBLE), torch.randn(4, dimensions, dtype=DOUBLE) + 1
    kwargs = {"sinkhorn": {"epsilon": 0.5, "tolerance": 1e-14}}.get(name, {})
    divergence = make(name, **kwargs)

    def f(y):
        torch.manual_seed(0)
        return divergence(x, y).value

    assert torch.autograd.gradcheck(f, y.requires_grad_(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_other_precisions(name, kind):
    x = torch.randn(6, 1).to(kind)
    y = (torch.randn(6, 1) + 1).to(kind).requires_grad_()
    found = make(name)(x, y)
    assert found.value.isfinite()
    assert torch.autograd.grad(found.value, y)[0].isfinite().all()


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 16), nn.Softplus(), nn.Linear(16, 1))

    def forward(self, x):
        return self.layers(x)


CRITICS = of(CriticDivergence)


@pytest.mark.parametrize("name", CRITICS)
def test_a_critic_learns_and_a_generator_follows(name):
    divergence = make(name)
    critic = divergence.prepare(Critic())
    offset = torch.full((2,), 1.5, requires_grad=True)
    real, noise = torch.randn(2, 64, 2)
    solvers = [torch.optim.Adam(critic.parameters(), lr=1e-2), torch.optim.Adam([offset], lr=2e-2)]
    first, nearest = None, offset.detach().norm()
    for step in range(150):
        outputs = critic(real), critic((noise + offset).detach())
        loss = divergence.critic_loss(*outputs) + divergence.penalty(critic, real, (noise + offset).detach())
        first = loss.item() if first is None else first
        solvers[0].zero_grad()
        loss.backward()
        solvers[0].step()
        divergence.constrain(critic)
        if step == 20:
            assert loss.item() < first
        if step > 20:
            solvers[1].zero_grad()
            divergence.generator_loss(critic(real), critic(noise + offset)).backward()
            solvers[1].step()
            nearest = min(nearest, offset.detach().norm())
    assert nearest < 1.2  # of 2.1 at first


@pytest.mark.parametrize("name", CRITICS)
def test_losses_are_scalars_of_any_shape_of_outputs(name):
    real, fake = torch.randn(2, 4, 1, 3, 3, requires_grad=True)
    for loss in (make(name).critic_loss(real, fake), make(name).generator_loss(real, fake)):
        assert loss.shape == () and loss.isfinite()


WRONG = {
    Need.TWO_DENSITIES: (torch.zeros(3, 1), torch.zeros(3, 1), "mmd"),
    Need.TWO_SAMPLES: (normal(0.0, 1.0), normal(0.0, 1.0), "jensen_shannon"),
    Need.DENSITY_AND_SAMPLES: (normal(0.0, 1.0), normal(0.0, 1.0), "reverse_kl"),
}


@pytest.mark.parametrize("name", [n for n, d in DIVERGENCES.items() if d.needs in WRONG])
def test_what_cannot_be_given_is_refused_with_names_that_fit(name):
    p, q, fits = WRONG[DIVERGENCES[name].needs]
    with pytest.raises(UserError, match=fits):
        make(name)(p, q)
    with pytest.raises(UserError, match="tensor of samples"):
        make(name)([1.0], q)


def test_fitting():
    assert "mmd" in fitting(density=False, samples=True) and "f_gan" in fitting(density=False, samples=True)
    assert fitting(density=False, samples=False) == []
    with pytest.raises(UserError, match="maximum_likelihood"):
        check_fit("mmd", density=True, samples=False)
    with pytest.raises(UserError, match="sinkhorn"):
        check_fit("kl", density=True, samples=True)
    with pytest.raises(UnknownName):
        check_fit("kll", density=True, samples=True)


def test_every_entry_states_its_contract():
    for name, entry in DIVERGENCES.items():
        assert isinstance(entry.needs, Need) and isinstance(entry.symmetric, bool)
        assert isinstance(make(name), entry)
        assert "Example:" in entry.__doc__ and "Source" in entry.__doc__ and ".. math::" in entry.__doc__
