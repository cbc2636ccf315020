"""Closed forms and slow twins: expectations, variances, and the formulas one sample at a time."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import integrate, stats
from torch import distributions as D

from caselli.estimator import (
    ESTIMATORS,
    REBAR,
    GumbelRao,
    GumbelSoftmax,
    Measurement,
    ReinMax,
    Score,
    StraightThrough,
    StraightThroughGumbel,
    gradients,
    rsample,
    true_gradient,
)
from caselli.estimator.problems import PROBLEMS, bernoulli, categorical, gaussian, polynomial, three_bernoulli
from tests.reference import estimators as reference

REPEATS = 100_000


def check_mean(rows, expected, digits=1e-6):
    error = 5 * rows.std(0) / len(rows) ** 0.5
    expected = torch.as_tensor(expected, dtype=rows.dtype)
    assert ((rows.mean(0) - expected).abs() < error + digits).all(), (rows.mean(0), expected, error / 5)


def check_variance(rows, expected):
    """Within five standard errors of the sample variance."""
    centred = rows - rows.mean(0)
    variance = centred.square().mean(0)
    error = 5 * (centred.square().var(0) / len(rows)).sqrt()
    expected = torch.as_tensor(expected, dtype=rows.dtype)
    assert ((variance - expected).abs() < error + 1e-5 * expected + 1e-12).all(), (variance, expected)


# t, φ: exact; variances of REINFORCE, RLOO with two samples, ARM, DisARM, ReinMax, straight-through
BERNOULLI = {
    (0.45, 0.0): (0.025, 0.0159391, 6.25e-4, 2.08333e-4, 0.0, 0.0625, 0.0625),
    (0.45, 1.0): (0.0196612, 0.0103460, 5.96497e-4, 3.64532e-4, 3.32112e-4, 0.044715, 0.030401),
    (0.45, -2.0): (0.0104994, 0.0088653, 4.14731e-4, 3.54977e-4, 3.52154e-4, 0.030399, 0.004630),
    (0.499, 0.0): (0.0005, 0.0156251, 2.5e-7, 8.3333e-8, 0.0, 0.0625, 0.0625),
}
# E of straight-through; of Gumbel-Softmax and straight-through Gumbel at τ = 1, .5, .1
BIASED = {
    (0.45, 0.0): (0.025, (0.016667, 0.021460, 0.024799), (0.016667, 0.021460, 0.024799)),
    (0.45, 1.0): (0.110519, (0.044723, 0.047953, 0.028490), (0.068242, 0.063433, 0.031975)),
    (0.45, -2.0): (-0.069463, (-0.030858, -0.022437, 0.002601), (-0.057009, -0.037356, -0.000486)),
    (0.499, 0.0): (0.0005, (0.000333, 0.000429, 0.000496), (0.000333, 0.000429, 0.000496)),
}


@pytest.mark.parametrize("toy", BERNOULLI, ids=str)
def test_bernoulli_toy_variances(toy):
    problem = bernoulli(*toy)
    exact, *variances = BERNOULLI[toy]
    truth = true_gradient(problem.f, problem.p)[0]
    assert abs(truth.item() - exact) < 1e-7
    made = [(Score(), 1), (Score("leave_one_out"), 2), (ESTIMATORS["arm"](), 1), (ESTIMATORS["disarm"](), 1)]
    for (estimator, samples), variance in zip(
        [*made, (ReinMax(), 1), (StraightThrough(), 1)], variances, strict=True
    ):
        rows = gradients(estimator, problem.f, problem.p, samples, REPEATS)
        check_variance(rows, variance)
        if not isinstance(estimator, StraightThrough):
            check_mean(rows, exact)


@pytest.mark.parametrize("toy", BIASED, ids=str)
def test_bernoulli_toy_biases(toy):
    problem = bernoulli(*toy)
    straight, relaxed, hard = BIASED[toy]
    check_mean(gradients(StraightThrough(), problem.f, problem.p, 1, REPEATS), straight)
    for temperature, soft_mean, hard_mean in zip((1.0, 0.5, 0.1), relaxed, hard, strict=True):
        for kind, mean in ((GumbelSoftmax, soft_mean), (StraightThroughGumbel, hard_mean)):
            check_mean(gradients(kind(temperature), problem.f, problem.p, 1, REPEATS), mean)
        rao = GumbelRao(temperature, draws=4)
        check_mean(gradients(rao, problem.f, problem.p, 1, REPEATS // 2), hard_mean)


CATEGORICAL = {
    2: ((-0.484428, -0.293820, -0.143679, 0.921927), (-0.484428, -0.293820, -0.143679, 0.921927)),
    3: ((-1.127760, -0.652703, -0.815310, 2.595773), (-2.187707, -0.792227, -0.498105, 3.478039)),
}


@pytest.mark.parametrize("power", CATEGORICAL)
def test_categorical_powers(power):
    problem = categorical(power)
    exact, reinmax = CATEGORICAL[power]
    assert (true_gradient(problem.f, problem.p)[0] - torch.tensor(exact).double()).abs().max() < 1e-6
    check_mean(gradients(ReinMax(), problem.f, problem.p, 1, REPEATS), reinmax)
    if power == 2:
        straight = (-0.859432, -0.217131, 0.288883, 0.787681)
        check_mean(gradients(StraightThrough(), problem.f, problem.p, 1, REPEATS), straight)


@pytest.mark.parametrize(
    ("name", "variances"),
    [("pathwise", (4.0, 12.0)), ("score", (30.0, 136.0)), ("measure_valued", (1.09296, 8.0))],
)
def test_gaussian_square(name, variances):
    problem = gaussian()
    rows = gradients(ESTIMATORS[name](), problem.f, problem.p, 1, REPEATS)
    check_mean(rows, (2.0, 2.0))
    check_variance(rows, variances)


def test_three_bernoulli_that_share_a_logit():
    problem = three_bernoulli()
    assert abs(true_gradient(problem.f, problem.p)[0].sum().item() + 0.045) < 1e-12


@pytest.mark.parametrize(
    ("power", "start", "optimum"), [(1.5, 0.354880, 0.301869), (2, 0.2525, 0.2025), (3, 0.128750, 0.091125)]
)
def test_polynomial_start_and_optimum(power, start, optimum):
    problem = polynomial(power)
    assert abs(problem.f(torch.zeros(128).double()).item() - optimum) < 1e-6
    one = polynomial(power, latents=1)
    exact = ESTIMATORS["enumeration"]()(one.f, one.p)
    assert abs(exact.value.item() - start) < 1e-6


def test_reinmax_descends_to_the_polynomial_optimum_and_straight_through_does_not():
    losses = {}
    for name in ("reinmax", "straight_through"):
        problem = polynomial(1.5, latents=32)
        logits = torch.empty(32).uniform_(-0.01, 0.01).requires_grad_()
        adam = torch.optim.Adam([logits], lr=0.05)
        estimator = ESTIMATORS[name]()
        for _ in range(300):
            p = D.Independent(D.Bernoulli(logits=logits), 1)
            adam.zero_grad()
            estimator(problem.f, p, 256).surrogate.backward()
            adam.step()
        p = torch.sigmoid(logits.detach())
        losses[name] = (p * 0.55**1.5 + (1 - p) * 0.45**1.5).mean().item()
    assert losses["reinmax"] < 0.304
    assert losses["straight_through"] > losses["reinmax"]


def interacting(z):
    return (z.sum(-1) - 1.2) ** 2 + z[..., 0] * z[..., -1] - torch.cos(z).prod(-1)


LOGITS = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)


def latents():
    logits = LOGITS.clone().requires_grad_()
    return logits, D.Independent(D.Bernoulli(logits=logits), 1)


def drawn(estimator, samples):
    """The samples that an estimator sees, and its gradient."""
    logits, p = latents()
    seen = []

    def f(z):
        seen.append(z.detach())
        return interacting(z)

    surrogate = estimator(f, p, samples).surrogate
    return seen[0], torch.autograd.grad(surrogate, logits)[0]


def test_enumeration_is_the_sum_over_states():
    logits, p = latents()
    surrogate = ESTIMATORS["enumeration"]()(interacting, p).surrogate
    found = torch.autograd.grad(surrogate, logits)[0]
    assert torch.allclose(found, reference.exact_bernoulli(interacting, LOGITS), atol=1e-12)


@pytest.mark.parametrize("baseline", ["none", "leave_one_out", "optimal"])
def test_score_is_the_loop(baseline):
    z, found = drawn(Score(baseline), 6)
    assert torch.allclose(found, reference.score(interacting, LOGITS, z, baseline), atol=1e-12)


def test_vimco_is_the_loop():
    z, found = drawn(ESTIMATORS["vimco"](), 6)
    assert torch.allclose(found, reference.vimco(interacting, LOGITS, list(z)), atol=1e-12)


def test_vimco_survives_one_dominant_weight():
    logits, p = latents()
    surrogate = ESTIMATORS["vimco"]()(lambda z: 800 * z.sum(-1), p, 5).surrogate
    assert torch.autograd.grad(surrogate, logits)[0].isfinite().all()


@pytest.mark.parametrize("name", ["arm", "disarm"])
def test_antithetic_ones_are_the_loop(name):
    torch.manual_seed(3)
    noise = torch.rand(7, 3, dtype=torch.float64)
    torch.manual_seed(3)
    _, found = drawn(ESTIMATORS[name](), 7)
    slow = {"arm": reference.arm, "disarm": reference.disarm}[name](interacting, LOGITS, noise)
    assert torch.allclose(found, slow, atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_reinmax_and_straight_through_are_the_loop(temperature):
    theta = torch.tensor([0.3, -0.2, 1.0, 0.5], dtype=torch.float64)

    def f(z):
        return (z * torch.arange(1.0, 5.0, dtype=z.dtype)).sum(-1) ** 3

    for estimator, slow in (
        (ReinMax(temperature), lambda z: reference.reinmax(f, theta, z, temperature)),
        (StraightThrough(), lambda z: reference.straight_through(f, theta, z)),
    ):
        logits = theta.clone().requires_grad_()
        seen = []

        def g(z, seen=seen):
            seen.append(z.detach())
            return f(z)

        surrogate = estimator(g, D.OneHotCategorical(logits=logits), 6).surrogate
        assert torch.allclose(torch.autograd.grad(surrogate, logits)[0], slow(seen[0]), atol=1e-12)


def test_rebar_has_the_moments_of_the_papers_formula():
    logit, temperature, scale = 0.7, 0.6, 0.8

    def f(b):
        return (b - 0.2) ** 2

    u, v = torch.rand(2, 4000, dtype=torch.float64).tolist()
    slow = torch.tensor(
        [reference.rebar_bernoulli(f, logit, a, b, temperature, scale) for a, b in zip(u, v, strict=True)]
    )
    p = D.Bernoulli(logits=torch.tensor(logit, dtype=torch.float64))
    fast = gradients(REBAR(temperature, scale), f, p, 1, REPEATS)[:, 0]
    for moment in (1, 2):
        a, b = slow**moment, fast**moment
        error = (a.var() / len(a) + b.var() / len(b)).sqrt()
        assert (a.mean() - b.mean()).abs() < 5 * error


def test_one_hot_and_bernoulli_rebar_agree_in_the_mean():
    """Two categories are a Bernoulli latent."""
    logits = torch.tensor([0.7, 0.0], dtype=torch.float64)
    rows = gradients(
        REBAR(), lambda z: (z[..., 0] - 0.2) ** 2, D.OneHotCategorical(logits=logits), 1, REPEATS
    )
    q = torch.sigmoid(torch.tensor(0.7)).item()
    check_mean(rows[:, :1], q * (1 - q) * 0.6)


def test_control_variates_learn_to_lower_the_variance():
    problem = PROBLEMS["three_bernoulli"]()
    from caselli.estimator import measure

    before, after = (
        next(measure(problem.f, problem.p, ["relax"], repeats=20_000, training_steps=steps))
        for steps in (0, 300)
    )
    assert isinstance(after, Measurement)
    assert after.variance < before.variance / 5
    assert after.bias < 5 * after.bias_error


@pytest.mark.parametrize("name", ["moving_average", "learned", "leave_one_out", "optimal"])
def test_baselines_lower_the_variance_and_keep_the_mean(name):
    from caselli.estimator import measure

    problem = bernoulli(0.45, 1.0)
    plain, better = measure(
        problem.f,
        problem.p,
        {"plain": Score(), name: Score(name)},
        samples=4,
        repeats=20_000,
    )
    assert better.variance < plain.variance / 2
    assert better.bias < 5 * better.bias_error


@pytest.mark.parametrize("dimensions", [0, 2])
def test_mixtures_are_reparameterised(dimensions):
    """Gradients of E f by the implicit path against the integral, differentiated numerically."""
    shape = (2, *([dimensions] if dimensions else []))
    theta = {
        "w": torch.tensor([0.3, -0.5], dtype=torch.float64),
        "m": torch.tensor([[-1.0, 0.2], [0.7, 1.0]], dtype=torch.float64)[:, : max(1, dimensions)].reshape(
            shape
        ),
        "s": torch.tensor([[0.7, 1.1], [0.9, 0.6]], dtype=torch.float64)[:, : max(1, dimensions)].reshape(
            shape
        ),
    }
    leaf = {k: v.clone().requires_grad_() for k, v in theta.items()}
    parts = D.Normal(leaf["m"], leaf["s"])
    component = D.Independent(parts, 1) if dimensions else parts
    p = D.MixtureSameFamily(D.Categorical(logits=leaf["w"]), component)
    z = rsample(p, REPEATS)
    f = torch.sin(z[..., 0]) * z[..., 1] ** 2 + z[..., 1] if dimensions else torch.sin(z) + z**3
    assert torch.allclose(z.mean(0), p.mean, atol=0.05)
    found = torch.autograd.grad(f.mean(), list(leaf.values()))

    def expectation(w, m, s):
        """E f in closed form: per component, moments of a Normal."""
        weights = torch.softmax(w, -1)
        sine = torch.exp(-s.square() / 2) * torch.sin(m)
        if not dimensions:
            return (weights * (sine + m**3 + 3 * m * s**2)).sum()
        return (weights * (sine[:, 0] * (m[:, 1] ** 2 + s[:, 1] ** 2) + m[:, 1])).sum()

    exact = torch.func.grad(expectation, argnums=(0, 1, 2))(*theta.values())
    for a, b in zip(found, exact, strict=True):
        assert torch.allclose(a, b, atol=0.12), (a, b)


@pytest.mark.parametrize("family", ["Laplace", "Gumbel", "LogNormal"])
def test_mixture_paths_are_minus_df_over_density(family):
    kind = getattr(D, family)
    location = torch.tensor([-0.5, 0.8], dtype=torch.float64, requires_grad=True)
    weights = D.Categorical(logits=torch.tensor([0.3, -0.5], dtype=torch.float64))
    p = D.MixtureSameFamily(weights, kind(location, torch.tensor([0.7, 0.5], dtype=torch.float64)))
    z = rsample(p, 3)
    step = 1e-6
    for i in range(2):
        shift = torch.zeros(2, dtype=torch.float64)
        shift[i] = step
        up, down = (
            D.MixtureSameFamily(weights, kind(location.detach() + d, p.component_distribution.scale)).cdf(
                z.detach()
            )
            for d in (shift, -shift)
        )
        slope = -(up - down) / (2 * step) / p.log_prob(z.detach()).exp()
        for n in range(3):
            path = torch.autograd.grad(z[n], location, retain_graph=True)[0][i]
            assert torch.allclose(path, slope[n].detach(), atol=1e-6)


def test_gamma_shape_derivative_against_quadrature():
    """∂α P(x > 1) of a Gamma(α, 1) latent at α = 2."""
    density = stats.gamma(2.0)
    step = 1e-4
    numeric = (stats.gamma(2 + step).sf(1.0) - stats.gamma(2 - step).sf(1.0)) / (2 * step)
    assert abs(numeric - 0.27619605) < 1e-6
    assert abs(integrate.quad(density.pdf, 1, math.inf)[0] - density.sf(1.0)) < 1e-9
