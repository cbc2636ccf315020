"""Divergences against other libraries, closed forms and slow loops."""

from __future__ import annotations

import numpy
import pytest
import torch
from scipy import integrate, special, stats
from torch import distributions as D

from caselli.divergence import (
    DIVERGENCES,
    F_FUNCTIONS,
    FGAN,
    KERNELS,
    KL,
    MMD,
    R1,
    R2,
    Alpha,
    Energy,
    GradientPenalty,
    Hinge,
    JensenShannon,
    LeastSquares,
    MaximumLikelihood,
    MaxSlicedWasserstein,
    Neyman,
    NonSaturating,
    Pearson,
    Relativistic,
    Renyi,
    ReverseKL,
    Sinkhorn,
    SlicedWasserstein,
    SpectralNorm,
    SquaredHellinger,
    TotalVariation,
    Wasserstein,
    Wasserstein1D,
    WeightClipping,
    median_bandwidth,
)
from caselli.divergence.f_function import lambert_of_exp
from caselli.errors import UserError
from tests.conformance.cases_divergence import PAIRS, SAMPLES

DOUBLE = torch.float64


def quantiles(mean, variance, count):
    """Points of equal probability: samples whose empirical distribution is as near as can be."""
    levels = (numpy.arange(count) + 0.5) / count
    return torch.tensor(stats.norm.ppf(levels, mean, variance**0.5))[:, None]


@pytest.mark.parametrize("pair", range(len(PAIRS)))
def test_golden_values_from_quantiles(pair):
    x, y = quantiles(0.0, 1.0, 1500), quantiles(*PAIRS[pair], 1200)
    found = {
        "wasserstein_1": Wasserstein1D(1)(x, y),
        "wasserstein_2": Wasserstein1D(2)(x, y),
        "energy": Energy()(x, y),
        "mmd": MMD(unbiased=False)(x, y),
    }
    for name, distance in found.items():
        assert abs(distance.value.item() - SAMPLES[name][pair]) < 4e-3, name


@pytest.mark.parametrize("pair", range(len(PAIRS)))
def test_golden_values_by_monte_carlo(pair):
    """U-statistics of independent samples are unbiased."""
    mean, variance = PAIRS[pair]
    draws = {"energy": [], "mmd": []}
    for _ in range(60):
        x = torch.randn(250, 1, dtype=DOUBLE)
        y = mean + variance**0.5 * torch.randn(200, 1, dtype=DOUBLE)
        draws["energy"].append(Energy(unbiased=True)(x, y).value)
        draws["mmd"].append(MMD()(x, y).value)
    for name, values in draws.items():
        values = torch.stack(values)
        assert (values.mean() - SAMPLES[name][pair]).abs() < 5 * values.std() / len(values) ** 0.5


@pytest.mark.parametrize(("n", "m"), [(1, 5), (4, 6), (7, 7), (30, 12)])
@pytest.mark.parametrize("order", [1, 2])
def test_one_dimension_against_scipy(n, m, order):
    x, y = torch.randn(n, 1, dtype=DOUBLE), torch.randn(m, 1, dtype=DOUBLE)
    found = Wasserstein1D(order)(x, y).value.item()
    if order == 1:
        assert abs(found - stats.wasserstein_distance(x[:, 0], y[:, 0])) < 1e-12
    copies = torch.arange(n * m)
    a, b = x.sort(0).values[copies // m], y.sort(0).values[copies // n]
    assert abs(found - ((a - b).abs() ** order).mean().item()) < 1e-12


def test_energy_against_scipy():
    x, y = torch.randn(9, 1, dtype=DOUBLE), torch.randn(7, 1, dtype=DOUBLE)
    assert abs(Energy()(x, y).value.item() - stats.energy_distance(x[:, 0], y[:, 0]) ** 2) < 1e-12


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("kernel", KERNELS)
def test_mmd_is_the_loop(kernel, unbiased):
    x, y = torch.randn(5, 3, dtype=DOUBLE), torch.randn(4, 3, dtype=DOUBLE)
    k = KERNELS[kernel]()

    def mean(a, b, same):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (same and unbiased and i == j)]
        return sum(k(a[i, None], b[j, None]).item() for i, j in pairs) / len(pairs)

    expected = mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)
    assert abs(MMD(kernel, unbiased=unbiased)(x, y).value.item() - expected) < 1e-12


def test_several_bandwidths_are_averaged_and_the_median_is_the_median():
    x, y = torch.randn(6, 2, dtype=DOUBLE), torch.randn(5, 2, dtype=DOUBLE)
    kind = KERNELS["gaussian"]
    both = MMD(kind([0.5, 2.0]))(x, y).value
    assert torch.allclose(both, (MMD(kind(0.5))(x, y).value + MMD(kind(2.0))(x, y).value) / 2)
    joined = torch.cat([x, y])
    apart = [(joined[i] - joined[j]).norm().item() for i in range(11) for j in range(i)]
    assert abs(median_bandwidth(x, y) - numpy.sort(apart)[(len(apart) - 1) // 2]) < 1e-12


@pytest.mark.parametrize("kernel", ["gaussian", "laplacian", "rational_quadratic", "inverse_multiquadric"])
def test_the_median_bandwidth_is_of_all_samples_and_knows_no_scale(kernel):
    x, y = torch.randn(6, 40, dtype=DOUBLE), torch.randn(5, 40, dtype=DOUBLE) + 0.5
    fixed = MMD(kernel, bandwidths=median_bandwidth(x, y))(x, y).value
    for scale in (1.0, 1e-3, 1e3):
        other = (scale * y).requires_grad_()
        found = MMD.of_any_scale(kernel)(scale * x, other).value
        assert torch.allclose(found, fixed)
        assert torch.autograd.grad(found, other)[0].abs().max() * scale > 1e-4
    assert MMD.of_any_scale(kernel, bandwidths=2.0)(x, y).value != fixed
    same = torch.ones(3, 2)
    assert MMD(kernel, bandwidths="median")(same, same).value == 0


def test_sliced_shift():
    x = torch.randn(60, 5, dtype=DOUBLE)
    shift = torch.tensor([1.0, -2.0, 0.5, 0.0, 1.0], dtype=DOUBLE)
    found = SlicedWasserstein(directions=4000)(x, x + shift)
    assert (found.value - shift.square().sum() / 5).abs() < 5 * found.standard_error
    assert abs(MaxSlicedWasserstein()(x, x + shift).value.item() - shift.square().sum().item()) < 1e-9


def test_max_sliced_finds_the_worst_direction_without_a_shift():
    """Two centred ellipses: the widest difference is along one axis."""
    x = torch.randn(400, 3, dtype=DOUBLE)
    x = x - x.mean(0)
    found = MaxSlicedWasserstein()(x, x * torch.tensor([1.0, 1.0, 3.0], dtype=DOUBLE)).value
    along = Wasserstein1D(2)(x[:, 2:], 3 * x[:, 2:]).value
    assert found > 0.99 * along


@pytest.mark.parametrize("epsilon", [0.01, 0.1, 1.0, 10.0])
def test_sinkhorn_of_a_shift_is_its_square_for_every_epsilon(epsilon):
    x = torch.randn(40, 2, dtype=DOUBLE)
    shift = torch.tensor([0.6, -0.8], dtype=DOUBLE)
    found = Sinkhorn(epsilon, tolerance=1e-12, iterations=5000)(x, x + shift).value
    assert abs(found.item() - 1.0) < 1e-6


def test_sinkhorn_limits():
    x, y = torch.randn(12, 1, dtype=DOUBLE), torch.randn(12, 1, dtype=DOUBLE) + 1
    small = Sinkhorn(5e-3, iterations=2000)(x, y).value
    assert torch.allclose(small, Wasserstein1D(2)(x, y).value, rtol=3e-2)
    large = Sinkhorn(1e4, order=1)(x, y).value
    assert torch.allclose(large, Energy()(x, y).value / 2, rtol=1e-3)


def test_sinkhorn_on_identical_single_and_far_samples():
    one = torch.zeros(1, 2)
    assert Sinkhorn()(one, one).value == 0
    same = torch.zeros(5, 2, requires_grad=True)
    found = Sinkhorn()(same, torch.zeros(5, 2)).value
    assert found == 0 and torch.autograd.grad(found, same)[0].abs().max() == 0
    far = Sinkhorn(1e-2)(torch.zeros(3, 2), torch.full((4, 2), 1e3)).value
    assert torch.allclose(far, torch.tensor(2e6), rtol=1e-4)


MULTIVARIATE = [
    (KL(method="closed form"), KL(method="monte carlo", samples=400_000)),
    (SquaredHellinger(method="closed form"), SquaredHellinger(method="monte carlo", samples=400_000)),
    (Renyi(0.7, method="closed form"), Renyi(0.7, method="monte carlo", samples=400_000)),
    (Alpha(0.3, method="closed form"), Alpha(0.3, method="monte carlo", samples=400_000)),
    (Pearson(method="closed form"), Pearson(method="monte carlo", samples=400_000)),
]


@pytest.mark.parametrize("pair", MULTIVARIATE, ids=lambda pair: type(pair[0]).__name__)
def test_multivariate_gaussians(pair):
    root = torch.tensor([[1.0, 0.0], [0.4, 0.8]], dtype=DOUBLE)
    p = D.MultivariateNormal(torch.tensor([0.3, -0.2], dtype=DOUBLE), scale_tril=root)
    q = D.Independent(D.Normal(torch.zeros(2, dtype=DOUBLE), torch.full((2,), 1.3, dtype=DOUBLE)), 1)
    exact, drawn = (divergence(p, q) for divergence in pair)
    assert exact.method == "closed form" and drawn.standard_error < 0.02
    assert (exact.value - drawn.value).abs() < 5 * drawn.standard_error


def test_kl_of_independent_latents_is_the_sum():
    p, q = (
        D.Independent(D.Bernoulli(logits=torch.tensor(a, dtype=DOUBLE)), 1) for a in ([0.0, 1.0], [2.0, -1.0])
    )
    found = KL()(p, q)
    assert found.method == "closed form"
    assert torch.allclose(found.value, D.kl_divergence(p.base_dist, q.base_dist).sum())


def test_the_random_state_is_left_alone():
    state = torch.get_rng_state()
    JensenShannon()(D.Exponential(1.0), D.Gamma(2.0, 1.0))
    assert torch.equal(state, torch.get_rng_state())


def test_monte_carlo_survives_many_dimensions():
    """Densities that underflow in every direction."""
    p = D.Independent(D.Laplace(torch.zeros(2000, dtype=DOUBLE), torch.ones(2000, dtype=DOUBLE)), 1)
    q = D.Independent(D.Normal(torch.full((2000,), 0.01, dtype=DOUBLE), torch.ones(2000, dtype=DOUBLE)), 1)
    found = JensenShannon(samples=100)(p, q)
    assert found.method == "monte carlo" and 0 < found.value < 0.6932
    assert ReverseKL(samples=100)(p, q).value.isfinite()


QUADRATURE = {
    "gamma": (D.Gamma(0.6, 1.0), D.Gamma(2.0, 1.5)),
    "cauchy": (D.Cauchy(0.0, 1.0), D.Cauchy(2.0, 0.5)),
    "student": (D.StudentT(3.0), D.StudentT(5.0, 1.0, 2.0)),
    "beta": (D.Beta(0.5, 0.5), D.Beta(2.0, 3.0)),
    "half line against line": (D.Exponential(1.0), D.Normal(1.0, 2.0)),
    "mixture": (
        D.MixtureSameFamily(
            D.Categorical(probs=torch.tensor([0.3, 0.7])),
            D.Normal(torch.tensor([-20.0, 5.0]), torch.tensor([0.01, 1.0])),
        ),
        D.Normal(0.0, 10.0),
    ),
    "narrow and wide": (D.Normal(0.0, 1e-3), D.Normal(5.0, 100.0)),
}


def doubled(p):
    """The same distribution in double precision."""
    if isinstance(p, D.MixtureSameFamily):
        return D.MixtureSameFamily(doubled(p.mixture_distribution), doubled(p.component_distribution))
    if isinstance(p, D.Categorical):
        return D.Categorical(probs=p.probs.double())
    return type(p)(**{name: getattr(p, name).double() for name in type(p).arg_constraints})


@pytest.mark.parametrize("name", QUADRATURE)
def test_quadrature_of_hard_pairs(name):
    """Total variation and Jensen-Shannon against distribution functions and scipy on a fine grid."""
    p, q = map(doubled, QUADRATURE[name])
    found = JensenShannon(method="quadrature")(p, q).value.item()
    drawn = JensenShannon(method="monte carlo", samples=400_000)(p, q)
    assert abs(found - drawn.value.item()) < 5 * drawn.standard_error.item() + 1e-6
    varied = TotalVariation(method="quadrature")(p, q).value.item()
    drawn = TotalVariation(method="monte carlo", samples=400_000)(p, q)
    assert abs(varied - drawn.value.item()) < 5 * drawn.standard_error.item() + 1e-6


def test_quadrature_against_closed_forms():
    gamma = map(doubled, QUADRATURE["gamma"])
    p, q = gamma
    assert torch.allclose(
        KL(method="quadrature")(p, q).value, KL(method="closed form")(p, q).value, atol=1e-7
    )
    p, q = map(doubled, QUADRATURE["beta"])
    assert torch.allclose(ReverseKL(method="quadrature")(p, q).value, D.kl_divergence(q, p), atol=1e-7)
    # Cauchy: KL is log of ((γ1 + γ2)² + (x1 - x2)²) / 4 γ1 γ2
    p, q = map(doubled, QUADRATURE["cauchy"])
    expected = numpy.log((1.5**2 + 4) / 2)
    assert abs(KL(method="quadrature")(p, q).value.item() - expected) < 1e-6
    narrow = KL(method="quadrature")(*map(doubled, QUADRATURE["narrow and wide"])).value
    assert torch.allclose(narrow, KL()(*map(doubled, QUADRATURE["narrow and wide"])).value, atol=1e-8)


def test_divergent_integrals_are_infinite():
    wide, narrow = D.Normal(0.0, 2.0), D.Normal(0.0, 1.0)
    assert Pearson()(wide, narrow).value == float("inf")
    assert Pearson(method="quadrature")(wide, narrow).value == float("inf")
    assert Renyi(2.0)(wide, narrow).value == float("inf")
    assert KL()(D.Normal(0.0, 1.0), D.Exponential(1.0)).value == float("inf")


ONE = torch.tensor(1.0, dtype=DOUBLE)
ENDLESS = {
    "heavy tail": (KL(), doubled(D.Cauchy(0.0, 1.0)), doubled(D.Normal(0.0, 1.0))),
    "heavy tail, by a logarithm": (KL(), doubled(D.HalfCauchy(1.0)), doubled(D.Exponential(1.0))),
    "no mass on one half": (KL(), doubled(D.Normal(0.0, 1.0)), doubled(D.HalfNormal(1.0))),
    "constant tail": (Pearson(), doubled(D.Gamma(1.5, 0.5)), doubled(D.Gamma(2.0, 1.0))),
    "at zero, by a logarithm": (Pearson(), doubled(D.Exponential(1.0)), doubled(D.Gamma(2.0, 1.0))),
    "at zero": (Neyman(), doubled(D.LogNormal(0.0, 1.0)), doubled(D.Exponential(1.0))),
    "at one": (Neyman(), doubled(D.Beta(2.0, 2.0)), doubled(D.Beta(0.5, 0.5))),
    "counts": (Pearson(), D.Geometric(ONE / 2), D.Poisson(ONE)),
    "counts to a failure": (
        Pearson(),
        D.NegativeBinomial(3 * ONE, ONE / 2),
        D.NegativeBinomial(3 * ONE, ONE / 5),
    ),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_what_has_no_end_is_infinite(kind):
    divergence, p, q = ENDLESS[kind]
    assert divergence(p, q).value == float("inf")
    assert abs(divergence(q, q).value) < 1e-6


def test_continuous_pairs_that_other_formulas_miss():
    """Closed forms by hand: on a circle, on one interval, mixtures of parts with supports of their own."""
    p, q = (D.VonMises(torch.tensor(x, dtype=DOUBLE), 2.0) for x in (3.1, -3.1))
    ratio = special.i1(2.0) / special.i0(2.0)
    assert KL()(p, q).value.item() == pytest.approx(2 * ratio * (1 - numpy.cos(6.2)), abs=1e-7)
    box = D.Uniform(torch.tensor(0.0, dtype=DOUBLE), 1.0)
    leaning = D.ContinuousBernoulli(torch.tensor(0.2, dtype=DOUBLE))
    assert KL()(leaning, box).value.item() == pytest.approx(-leaning.entropy().item(), abs=1e-9)
    steps = torch.tensor([0.0, 1.0], dtype=DOUBLE)
    parts = D.Categorical(torch.tensor([0.3, 0.7], dtype=DOUBLE))
    p = D.MixtureSameFamily(parts, D.Uniform(steps, steps + 1))
    q = D.Uniform(torch.tensor(0.0, dtype=DOUBLE), 2.0)
    expected = 0.3 * numpy.log(0.6) + 0.7 * numpy.log(1.4)
    assert KL()(p, q).value.item() == pytest.approx(expected, abs=1e-6)
    assert KL()(q, p).value.item() == pytest.approx(-numpy.log(0.6 * 1.4) / 2, abs=1e-6)


def test_orders_meet_their_neighbours():
    p, q = D.Normal(torch.tensor(0.0, dtype=DOUBLE), 1.0), D.Normal(torch.tensor(0.5, dtype=DOUBLE), 1.5)
    hellinger = SquaredHellinger()(p, q).value
    assert torch.allclose(Alpha(0.5)(p, q).value, 2 * hellinger)
    assert torch.allclose(Renyi(0.5)(p, q).value, -2 * (1 - hellinger / 2).log())
    assert torch.allclose(Alpha(2.0)(p, q).value, Pearson()(p, q).value / 2)
    assert torch.allclose(Renyi(1 + 1e-6)(p, q).value, KL()(p, q).value, atol=1e-5)
    assert torch.allclose(Alpha(1e-6)(p, q).value, ReverseKL()(p, q).value, atol=1e-5)


def test_maximum_likelihood_has_the_gradient_of_kl():
    mean = torch.tensor(0.4, dtype=DOUBLE, requires_grad=True)
    x = torch.tensor(stats.norm.ppf((numpy.arange(20_000) + 0.5) / 20_000))
    found = MaximumLikelihood()(x, D.Normal(mean, 2.0))
    assert abs(torch.autograd.grad(found.value, mean)[0].item() - 0.4 / 4) < 1e-6
    kl = KL()(D.Normal(0.0, 1.0), D.Normal(0.4, 2.0)).value.item()
    assert abs(found.value.item() - kl - 0.5 * numpy.log(2 * numpy.pi * numpy.e)) < 1e-3


def test_linear_gaussian_evidence():
    """z ~ N(0, 1), x | z ~ N(z, 1), x = 1.5: the bound is the evidence less KL(q ‖ posterior)."""
    evidence = D.Normal(0.0, 2**0.5).log_prob(torch.tensor(1.5)).item()
    assert abs(evidence + 1.82801212) < 1e-6
    posterior = D.Normal(torch.tensor(0.75, dtype=DOUBLE), 0.5**0.5)
    gap = KL()(D.Normal(torch.tensor(0.0, dtype=DOUBLE), 1.0), posterior).value.item()
    assert abs(evidence - gap + 2.54393853) < 1e-6


RATIOS = torch.tensor([0.2, 0.7, 1.0, 1.9, 4.0], dtype=DOUBLE)


@pytest.mark.parametrize("name", F_FUNCTIONS)
def test_conjugates(name):
    """f(1) = 0 up to GAN's constant, f* (f'(u)) = u f'(u) - f(u), f' the derivative, g onto the domain."""
    f = F_FUNCTIONS[name]
    assert abs(f.f(torch.ones(1).double()).item() - (-numpy.log(4) if name == "gan" else 0)) < 1e-12
    u = RATIOS.clone().requires_grad_()
    slope = torch.autograd.grad(f.f(u).sum(), u)[0]
    assert torch.allclose(slope, f.slope(RATIOS), atol=1e-10)
    assert torch.allclose(f.conjugate(slope), RATIOS * slope - f.f(RATIOS), atol=1e-10)
    v = torch.linspace(-3, 0.9, 9, dtype=DOUBLE)
    assert torch.allclose(f.conjugate(f.output(v)), f.conjugate_of_output(v), atol=1e-10)


@pytest.mark.parametrize("name", F_FUNCTIONS)
def test_the_best_critic_reaches_the_divergence(name):
    """On three atoms, with the critic's outputs as free parameters."""
    f = F_FUNCTIONS[name]
    p, q = torch.tensor([0.2, 0.5, 0.3]).double(), torch.tensor([0.4, 0.25, 0.35]).double()
    v = torch.zeros(3, dtype=DOUBLE, requires_grad=True)
    solver = torch.optim.LBFGS([v], lr=0.5, max_iter=200, tolerance_grad=1e-12)

    def loss():
        solver.zero_grad()
        value = -(p * f.output(v)).sum() + (q * f.conjugate_of_output(v)).sum()
        value.backward()
        return value

    solver.step(loss)
    assert abs(-loss().item() - (q * f.f(p / q)).sum().item()) < 1e-8


def test_f_gan_scales():
    p, q = D.Categorical(torch.tensor([0.2, 0.8]).double()), D.Categorical(torch.tensor([0.6, 0.4]).double())
    ratio = p.probs / q.probs
    double = (q.probs * F_FUNCTIONS["jensen_shannon"].f(ratio)).sum()
    assert torch.allclose(double, 2 * JensenShannon()(p, q).value)
    gan = (q.probs * F_FUNCTIONS["gan"].f(ratio)).sum()
    assert torch.allclose(gan, double - numpy.log(4))


@pytest.mark.parametrize("y", [-300.0, -5.0, 0.0, 0.7, 1.0, 3.0, 50.0, 400.0])
def test_lambert(y):
    t = torch.tensor(y, dtype=DOUBLE, requires_grad=True)
    w = lambert_of_exp(t)
    expected = special.lambertw(numpy.exp(y)).real if y < 300 else w.item()
    assert abs(w.item() - expected) <= 1e-10 * abs(expected)
    assert abs(w.item() + w.log().item() - y) < 1e-9 * max(1, abs(y))
    assert abs(torch.autograd.grad(w, t)[0].item() - w.item() / (1 + w.item())) < 1e-10


def test_losses_as_printed():
    r, k = torch.tensor([0.3, -1.2]), torch.tensor([0.5, 2.0])
    softplus = torch.nn.functional.softplus
    cases = {
        NonSaturating: ((softplus(-r) + softplus(k)).mean(), softplus(-k).mean()),
        LeastSquares: ((0.5 * (r - 1) ** 2 + 0.5 * k**2).mean(), (0.5 * (k - 1) ** 2).mean()),
        Hinge: ((torch.relu(1 - r) + torch.relu(1 + k)).mean(), -k.mean()),
        Wasserstein: ((k - r).mean(), -k.mean()),
        Relativistic: (softplus(-(r - k)).mean(), softplus(-(k - r)).mean()),
    }
    for kind, (critic, generator) in cases.items():
        assert torch.allclose(kind().critic_loss(r, k), critic)
        assert torch.allclose(kind().generator_loss(r, k), generator)
    assert torch.allclose(FGAN("gan").critic_loss(r, k), NonSaturating().critic_loss(r, k))


def test_penalties_of_a_linear_critic():
    critic = torch.nn.Linear(2, 1, bias=False)
    critic.weight.data = torch.tensor([[3.0, 4.0]])
    x, y = torch.randn(2, 5, 2)
    assert torch.allclose(GradientPenalty(10.0).penalty(critic, x, y), torch.tensor(160.0))
    assert torch.allclose(R1(2.0).penalty(critic, x, y), torch.tensor(25.0))
    assert torch.allclose(R2(1.0).penalty(critic, x, y), torch.tensor(12.5))
    joined = Relativistic().penalty(critic, x, y)
    assert torch.allclose(joined, torch.tensor(25.0))
    joined.backward()
    assert torch.allclose(critic.weight.grad, 2 * critic.weight)


def test_the_gradient_penalty_is_safe_where_the_slope_is_zero():
    critic = torch.nn.Linear(2, 1)
    torch.nn.init.zeros_(critic.weight)
    penalty = GradientPenalty().penalty(critic, torch.randn(3, 2), torch.randn(3, 2))
    penalty.backward()
    assert penalty.item() == pytest.approx(10.0) and critic.weight.grad.isfinite().all()


def test_penalties_are_taken_where_they_say():
    def critic(x):
        return x.pow(3)

    x, y = torch.full((2, 1), 1.0), torch.full((2, 1), 2.0)
    assert R1(2.0).penalty(critic, x, y).item() == pytest.approx(9.0)
    assert R2(2.0).penalty(critic, x, y).item() == pytest.approx(144.0)
    between = GradientPenalty(1.0).penalty(critic, x, y).item()
    assert 4.0 <= between <= 121.0


def test_clipping_and_spectral_normalisation():
    critic = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    Wasserstein(WeightClipping(0.01)).constrain(critic)
    assert max(w.abs().max() for w in critic.parameters()) <= 0.01
    smooth = Wasserstein(SpectralNorm(20))
    prepared = smooth.prepare(smooth.prepare(critic))
    prepared(torch.randn(2, 4))
    largest = torch.linalg.matrix_norm(prepared[0].weight, 2)
    assert abs(largest.item() - 1) < 1e-2
    assert smooth.penalty(prepared, torch.randn(2, 4), torch.randn(2, 4)) == 0


def test_wasserstein_critic_finds_the_shift():
    """W1 of a shift is its length; a linear critic with slope one reaches it."""
    x = torch.randn(200, 2)
    y = x + torch.tensor([3.0, 4.0])
    critic = torch.nn.Linear(2, 1)
    divergence = Wasserstein()
    adam = torch.optim.Adam(critic.parameters(), lr=0.05)
    for _ in range(150):
        adam.zero_grad()
        (divergence.critic_loss(critic(x), critic(y)) + divergence.penalty(critic, x, y)).backward()
        adam.step()
    assert divergence.bound(critic(x), critic(y)).item() == pytest.approx(5.0 * 1.25, abs=0.1)


BAD = {
    "order of renyi": lambda: Renyi(1.0),
    "order of alpha": lambda: Alpha(0.0),
    "order of wasserstein": lambda: Wasserstein1D(0.5),
    "epsilon": lambda: Sinkhorn(0.0),
    "order of sinkhorn": lambda: Sinkhorn(order=3),
    "bandwidth": lambda: KERNELS["gaussian"](0.0),
    "kernel": lambda: MMD("gauss"),
    "bandwidths of none": lambda: MMD("linear", bandwidths=1.0),
    "bandwidths in words": lambda: MMD(bandwidths="mean"),
    "a bandwidth of zero": lambda: MMD(bandwidths=0.0),
    "method": lambda: KL(method="guess"),
    "no closed form": lambda: TotalVariation(method="closed form")(D.Normal(0.0, 1.0), D.Normal(1.0, 1.0)),
    "events": lambda: KL()(D.Normal(0.0, 1.0), D.Independent(D.Normal(torch.zeros(2), 1.0), 1)),
    "supports": lambda: JensenShannon()(D.Categorical(torch.ones(2)), D.Categorical(torch.ones(3))),
    "dimensions": lambda: Wasserstein1D()(torch.zeros(3, 2), torch.zeros(3, 2)),
    "rank": lambda: Energy()(torch.zeros(3), torch.zeros(3)),
    "too few": lambda: MMD()(torch.zeros(1, 1), torch.zeros(3, 1)),
    "f": lambda: FGAN("jensen"),
    "pairs": lambda: Relativistic().critic_loss(torch.zeros(3), torch.zeros(2)),
    "clipping": lambda: WeightClipping(0.0),
}


@pytest.mark.parametrize("mistake", BAD)
def test_mistakes_are_explained(mistake):
    with pytest.raises(UserError, match=r"was given|were given"):
        BAD[mistake]()


def test_scipy_agrees_on_total_variation():
    def gap(x):
        return abs(stats.norm.pdf(x) - stats.norm.pdf(x, 1, 2)) / 2

    expected = integrate.quad(gap, -30, 30, points=[-1.1, 0.0, 1.5], limit=400)[0]
    p, q = D.Normal(torch.tensor(0.0, dtype=DOUBLE), 1.0), D.Normal(torch.tensor(1.0, dtype=DOUBLE), 2.0)
    assert abs(TotalVariation()(p, q).value.item() - expected) < 1e-7


# counts, and the edges of their families --------------------------------------------------------------------

COUNTS = {
    "poisson": (D.Poisson, [(0.0, 2.0), (2.0, 0.0), (0.0, 0.0), (1.5, 3.0), (40.0, 60.0)]),
    "geometric": (D.Geometric, [(1.0, 0.5), (0.5, 1.0), (1.0, 1.0), (0.3, 0.6), (0.6, 0.3)]),
    "negative binomial": (
        lambda p: D.NegativeBinomial(3.0, p),
        [(0.0, 0.5), (0.5, 0.0), (0.0, 0.0), (0.3, 0.6)],
    ),
    "independent": (
        lambda p: D.Independent(D.Poisson(p[None]), 1),
        [(0.0, 2.0), (2.0, 0.0), (1.5, 3.0)],
    ),
}
MASSES = {
    "poisson": stats.poisson.pmf,
    "geometric": lambda k, x: x * (1 - x) ** k,
    "negative binomial": lambda k, x: stats.nbinom.pmf(k, 3, 1 - x),
    "independent": stats.poisson.pmf,
}
BETWEEN_COUNTS = {
    "kl": (KL(), lambda p, q: special.rel_entr(p, q)),
    "reverse kl": (ReverseKL(), lambda p, q: special.rel_entr(q, p)),
    "total variation": (TotalVariation(), lambda p, q: abs(p - q) / 2),
    "hellinger": (SquaredHellinger(), lambda p, q: (p**0.5 - q**0.5) ** 2),
    "jensen-shannon": (
        JensenShannon(),
        lambda p, q: special.rel_entr(p, (p + q) / 2) / 2 + special.rel_entr(q, (p + q) / 2) / 2,
    ),
    "pearson": (Pearson(), lambda p, q: numpy.where(p == q, 0, (p - q) ** 2 / numpy.where(p == q, 1, q))),
}


@pytest.mark.parametrize("family", COUNTS)
@pytest.mark.parametrize("name", BETWEEN_COUNTS)
def test_counts_against_plain_sums(family, name):
    make, pairs = COUNTS[family]
    divergence, term = BETWEEN_COUNTS[name]
    k = numpy.arange(150)  # beyond, masses underflow
    for a, b in pairs:
        found = divergence(make(torch.tensor(a, dtype=DOUBLE)), make(torch.tensor(b, dtype=DOUBLE)))
        with numpy.errstate(all="ignore"):
            expected = numpy.nansum(term(MASSES[family](k, a), MASSES[family](k, b)))
        if family == "geometric" and name == "pearson" and (1 - a) ** 2 >= 1 - b > 0:
            expected = numpy.inf  # its terms grow
        if found.method == "monte carlo":
            assert family == "independent"
            continue
        assert found.value.item() == pytest.approx(expected, rel=1e-9, abs=1e-12), (a, b)


EDGES = [([1.0, 0, 0], [0, 0.5, 0.5]), ([0.2, 0.3, 0.5], [0.5, 0.5, 0]), ([0.5, 0.5, 0], [0.2, 0.3, 0.5])]


@pytest.mark.parametrize("name", BETWEEN_COUNTS)
@pytest.mark.parametrize("pair", EDGES)
def test_draws_from_classes_on_the_edge(name, pair):
    """Counts of two draws, and one draw from a mixture of classes."""
    divergence, term = BETWEEN_COUNTS[name]
    p, q = (torch.tensor(x, dtype=DOUBLE, requires_grad=True) for x in pair)
    ways = numpy.array([(a, b, 2 - a - b) for a in range(3) for b in range(3 - a)])
    masses = [stats.multinomial.pmf(ways, 2, numpy.array(x)) for x in pair]
    found = divergence(*(D.Multinomial(2, x, validate_args=False) for x in (p, q)))
    with numpy.errstate(all="ignore"):
        assert found.method == "sum"
        assert found.value.item() == pytest.approx(numpy.nansum(term(*masses)), abs=1e-12)
        found.value.backward()
        assert not (p.grad.isnan().any() or q.grad.isnan().any())
        mixed = [numpy.array(x) for x in pair]
        expected = numpy.nansum(term(*mixed))
    half = D.Categorical(torch.tensor([0.5, 0.5], dtype=DOUBLE))
    both = (D.MixtureSameFamily(half, D.Categorical(x.detach().expand(2, 3))) for x in (p, q))
    found = divergence(*both)
    assert found.value.item() == pytest.approx(expected, abs=5 * found.standard_error.item() + 1e-12)


@pytest.mark.parametrize("name", BETWEEN_COUNTS)
@pytest.mark.parametrize("family", COUNTS)
def test_slopes_on_the_edge_are_those_beside_it(family, name):
    """One-sided differences where the slope is finite; a large number of their sign where it is not."""
    make, pairs = COUNTS[family]
    divergence, step = BETWEEN_COUNTS[name][0], 1e-6 * (-1 if family == "geometric" else 1)
    for a, b in [pair for pair in pairs if pair[0] != pair[1]]:
        p, q = (torch.tensor(x, dtype=DOUBLE, requires_grad=True) for x in (a, b))
        found = divergence(make(p), make(q))
        value = found.value
        if not value.isfinite() or found.method == "monte carlo":
            continue
        slopes = torch.autograd.grad(value, (p, q))
        moved = [(a + step, b), (a, b + step)]
        sides = [[make(torch.tensor(x, dtype=DOUBLE)) for x in pair] for pair in moved]
        beside = [(divergence(*pair).value - value) / step for pair in sides]
        for slope, difference in zip(slopes, beside, strict=True):
            if abs(slope) > 1e100 or abs(difference) > 10:
                assert slope.sign() == difference.sign() and abs(difference) > 5
            else:
                assert slope.item() == pytest.approx(difference.item(), rel=2e-3, abs=2e-3), (a, b)


@pytest.mark.parametrize("name", ["kl", "jensen_shannon", "total_variation"])
def test_densities_of_other_batch_shapes_broadcast(name):
    """One against several, by sums, quadrature and samples, as each pair by itself."""
    divergence = DIVERGENCES[name]()
    several = torch.tensor([0.3, 0.6])
    for family in (
        lambda x: D.Bernoulli(x),
        lambda x: D.Laplace(x, torch.ones_like(x)),
        lambda x: D.Categorical(torch.stack((x, 1 - x), -1)),
    ):
        found = divergence(family(torch.tensor(0.3)), family(several)).value
        own = [divergence(family(torch.tensor(0.3)), family(x)).value for x in several]
        torch.testing.assert_close(found, torch.stack(own))
    with pytest.raises(UserError, match="broadcast"):
        divergence(D.Bernoulli(torch.zeros(2) + 0.5), D.Bernoulli(torch.zeros(3) + 0.5))
