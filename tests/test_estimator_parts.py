"""Sampling functions, schedules, baselines, and the measuring of estimators."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as D

from caselli.compare import applicable, compare
from caselli.compare.estimators import Estimators
from caselli.errors import UnknownName, UserError
from caselli.estimator import (
    BASELINES,
    ESTIMATORS,
    LAX,
    NVIL,
    PROBLEMS,
    RELAX,
    SCHEDULES,
    Enumeration,
    GumbelSoftmax,
    MovingAverage,
    Score,
    measure,
    sample_gumbel_max,
    sample_gumbel_softmax,
    sample_straight_through_gumbel,
    true_gradient,
)
from caselli.estimator.parameters import parameters, with_parameters

INFINITY = float("inf")
EXTREME = torch.tensor(
    [[0.0, INFINITY, 1.0], [0.0, -INFINITY, -INFINITY], [INFINITY, 0.0, INFINITY], [3e4, -3e4, 0.0]]
)


def test_gumbel_max_has_the_softmax_as_its_frequencies():
    logits = torch.tensor([0.3, -0.2, 1.0, 0.5])
    draws = sample_gumbel_max(logits.expand(100_000, 4))
    found = torch.bincount(draws, minlength=4) / 100_000
    expected = torch.softmax(logits, -1)
    assert ((found - expected).abs() < 5 * (expected * (1 - expected) / 100_000).sqrt()).all()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [1e-8, 1.0, 1e8])
def test_extreme_logits_have_their_limits(kind, temperature):
    logits = EXTREME.to(kind).requires_grad_()
    for soft in (
        sample_gumbel_softmax(logits, temperature),
        sample_straight_through_gumbel(logits, temperature),
    ):
        assert soft.dtype == kind and soft.isfinite().all()
        assert torch.allclose(soft.sum(-1).float(), torch.ones(4), atol=1e-2)
        slope = torch.autograd.grad(soft[:, 0].sum(), logits)[0]
        assert slope.isfinite().all() and (slope[:3] * EXTREME[:3].isinf()).nan_to_num().abs().max() == 0
    assert (sample_gumbel_max(logits.expand(50, 4, 3)) == torch.tensor([1, 0, 0, 0])).float().mean(0)[0] == 1
    assert set(sample_gumbel_max(logits[2].expand(200, 3)).tolist()) == {0, 2}


def test_hard_samples_are_exactly_one_hot():
    hard = sample_straight_through_gumbel(torch.randn(1000, 5), 0.7)
    assert ((hard == 0) | (hard == 1)).all() and (hard.sum(-1) == 1).all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, INFINITY, math.nan])
def test_a_temperature_that_is_none_is_refused(temperature):
    for make in (
        lambda: sample_gumbel_softmax(torch.zeros(3), temperature),
        lambda: GumbelSoftmax(temperature),
        lambda: SCHEDULES["linear"](1.0, temperature),
        lambda: ESTIMATORS["rebar"](temperature),
        lambda: ESTIMATORS["reinmax"](temperature),
    ):
        with pytest.raises(UserError, match="temperature"):
            make()
    later = GumbelSoftmax()
    later.temperature = temperature
    with pytest.raises(UserError, match="temperature"):
        later(lambda z: z, D.Bernoulli(logits=torch.zeros(())))


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_start_end_and_never_leave_their_range(name):
    schedule = SCHEDULES[name](2.0, 0.5, steps=50)
    values = [schedule(step) for step in range(-5, 120)]
    assert values[0] == 2.0 and all(0.5 - 1e-12 <= v <= 2.0 for v in values)
    assert values == sorted(values, reverse=True)
    assert math.isclose(schedule(50), 2.0 if name == "constant" else 0.5)
    with pytest.raises(UserError, match="steps"):
        SCHEDULES[name](steps=0)


def test_the_moving_average_is_corrected_for_its_start_and_keeps_still_in_evaluation():
    baseline = MovingAverage(0.9)
    values = torch.tensor([2.0, 4.0])
    p = D.Bernoulli(logits=torch.zeros(()))
    assert baseline(values, values, p, None).tolist() == [0.0, 0.0]
    assert torch.allclose(baseline(values, values, p, None), torch.tensor([3.0, 3.0]))
    expected = (0.9 * 0.3 + 0.3) / (1 - 0.81)
    assert torch.allclose(baseline.eval()(values, values, p, None), torch.tensor(expected))
    assert torch.equal(baseline(values * 9, values, p, None), baseline(values, values, p, None))


def test_a_learned_baseline_reads_the_context():
    p = D.Independent(D.Bernoulli(logits=torch.zeros(6, 2)), 1)
    context = torch.randn(6, 3)
    target = context[:, 0] * 2 + 1
    estimator = NVIL(width=3)
    adam = torch.optim.Adam(estimator.parameters(), lr=5e-2)
    for _ in range(200):
        adam.zero_grad()
        loss = estimator(lambda z: target + 0 * z.sum(-1), p, 4, context).auxiliary_loss
        loss.backward()
        adam.step()
    assert loss < 1e-2
    with pytest.raises(UserError, match="width=2"):
        estimator(lambda z: z.sum(-1), p, 4)


def test_nvil_scaled_says_that_it_is_biased():
    assert NVIL().unbiased and not NVIL(scaled=True).unbiased


@pytest.mark.parametrize("kind", [LAX, RELAX])
def test_control_variates_of_the_wrong_width_are_refused(kind):
    p = D.Normal(torch.zeros(3), 1.0) if kind is LAX else D.Bernoulli(logits=torch.zeros(3))
    with pytest.raises(UserError, match="width=3"):
        kind(width=2)(lambda z: z.sum(-1), D.Independent(p, 1))


def test_other_mistakes_are_explained():
    with pytest.raises(UnknownName, match="leave_one_out"):
        Score("leave_one")
    with pytest.raises(UserError, match="decay"):
        BASELINES["moving_average"](1.0)
    with pytest.raises(UserError, match="draws"):
        ESTIMATORS["gumbel_rao"](draws=0)
    with pytest.raises(UserError, match="states"):
        Enumeration(limit=7)(lambda z: z.sum(-1), D.Independent(D.Bernoulli(logits=torch.zeros(3)), 1))
    gammas = D.MixtureSameFamily(D.Categorical(torch.ones(2)), D.Gamma(torch.ones(2), torch.ones(2)))
    with pytest.raises(UserError, match="Gamma"):
        ESTIMATORS["pathwise"]()(lambda z: z, gammas)
    with pytest.raises(UserError, match="one of"):
        parameters(D.Wishart(torch.tensor(3.0), torch.eye(2)))


def test_families_are_taken_apart_and_put_together():
    for p in (
        D.Independent(D.Normal(torch.zeros(2, 3), torch.ones(2, 3)), 1),
        D.MixtureSameFamily(D.Categorical(torch.ones(2)), D.Normal(torch.tensor([0.0, 1.0]), 1.0)),
        D.MultivariateNormal(torch.zeros(2), torch.eye(2)),
        D.Beta(1.0, 2.0),
        D.StudentT(3.0, 1.0, 2.0),
    ):
        again = with_parameters(p, parameters(p))
        x = p.sample((4,))
        assert torch.allclose(again.log_prob(x), p.log_prob(x)) and again.batch_shape == p.batch_shape


def test_binomial_enumeration():
    logits = torch.tensor([0.3, -1.0], requires_grad=True)
    p = D.Binomial(3, logits=logits)
    estimate = Enumeration()(lambda z: z**2, p)
    assert estimate.value.shape == (2,) and Enumeration().evaluations(p, 1) == 4
    q = torch.sigmoid(logits)
    exact = torch.autograd.grad((3 * q * (1 - q) + 9 * q**2).sum(), logits)[0]
    assert torch.allclose(torch.autograd.grad(estimate.surrogate, logits)[0], exact)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_problems_are_compared(problem):
    made = PROBLEMS[problem]()
    names = applicable(made.p)
    options = {"samples": 2, "repeats": 20, "training_steps": 3, "reference_samples": 1000}
    found = list(measure(made.f, made.p, names, **options))
    assert [m.name for m in found] == names
    (alone,) = measure(made.f, made.p, names[-1:], **options)
    assert torch.equal(alone.gradient, found[-1].gradient), "an estimator does not depend on the others"


def test_measure_leaves_gradients_and_given_estimators_alone():
    logits = torch.zeros(3, requires_grad=True)
    w = torch.ones((), requires_grad=True)
    p = D.Independent(D.Bernoulli(logits=logits), 1)
    estimator = RELAX(width=3)
    before = {k: v.clone() for k, v in estimator.state_dict().items()}
    (found,) = measure(lambda z: w * z.sum(-1), p, {"mine": estimator}, repeats=50, training_steps=5)
    assert found.name == "mine" and found.gradient.shape == (3,)
    assert logits.grad is None and w.grad is None and estimator.training
    assert all(torch.equal(v, before[k]) for k, v in estimator.state_dict().items())


def test_measure_refuses_what_is_not_served_and_too_few_repeats():
    problem = PROBLEMS["gaussian"]()
    with pytest.raises(UserError, match="pathwise"):
        list(measure(problem.f, problem.p, ["arm"]))
    with pytest.raises(UnknownName, match="disarm"):
        list(measure(problem.f, problem.p, ["disarmed"]))
    with pytest.raises(UserError, match="repeats"):
        list(measure(problem.f, problem.p, ["score"], repeats=1))
    with pytest.raises(UnknownName, match="gaussian"):
        compare(Estimators(Estimators.Settings(problem="gausian")))


def test_the_truth_of_a_long_run_is_near_the_exact_one():
    """Too many states to enumerate, f linear: the gradient is q(1 - q) everywhere."""
    p = D.Independent(D.Bernoulli(logits=torch.zeros(20, dtype=torch.float64)), 1)
    truth, error = true_gradient(lambda z: z.sum(-1), p, reference_samples=40_000)
    assert (error > 0).all() and ((truth - 0.25).abs() < 5 * error).all()
    rigid = D.Normal(torch.zeros(()), torch.ones(()))
    truth, error = true_gradient(lambda z: (z > 0).float(), rigid, reference_samples=40_000)
    assert (truth[0] - 0.39894).abs() < 5 * error[0]


def test_a_context_and_annealing_train_a_small_encoder():
    """Latents that copy their inputs: every estimator of a discrete latent learns it."""
    x = torch.eye(4)
    weights = {}
    for name in ("disarm", "reinmax", "gumbel_softmax", "relax"):
        torch.manual_seed(0)
        encoder = torch.nn.Linear(4, 4, bias=False)
        estimator = ESTIMATORS[name].fitting(D.Independent(D.Bernoulli(logits=x), 1))
        adam = torch.optim.Adam([*encoder.parameters(), *estimator.parameters()], lr=0.05)
        schedule = SCHEDULES["exponential"](1.0, 0.3, steps=150)
        for step in range(150):
            if isinstance(estimator, GumbelSoftmax):
                estimator.temperature = schedule(step)
            p = D.Independent(D.Bernoulli(logits=encoder(x)), 1)
            estimate = estimator(lambda z: (z - x).square().sum(-1), p, 4)
            adam.zero_grad()
            (estimate.surrogate + estimate.auxiliary_loss).backward()
            adam.step()
        weights[name] = (torch.sigmoid(encoder(x)) - x).abs().max().item()
    assert max(weights.values()) < 0.3, weights


@pytest.mark.parametrize("name", ["score", "nvil", "vimco", "lax"])
def test_supports_that_move_are_refused(name):
    """The score of a uniform distribution says nothing of its ends, where all of the gradient is."""
    p = D.Independent(D.Uniform(torch.zeros(1), torch.ones(1, requires_grad=True)), 1)
    with pytest.raises(UserError):
        ESTIMATORS[name].fitting(p)(lambda z: z.sum(-1), p, samples=4)
