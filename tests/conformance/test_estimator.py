"""The laws of every estimator."""

from __future__ import annotations

import io

import pytest
import torch
from torch import distributions as D

from caselli.errors import UserError
from caselli.estimator import ESTIMATORS, Estimate, gradients, true_gradient
from tests.conformance.cases_estimator import CASES, LEAST

REPEATS = 100_000
LOGITS = [[0.3, -1.0, 2.0], [0.0, 0.5, -0.5]]


def serves(name, p):
    return ESTIMATORS[name]().accepts(p)


def least(name):
    return LEAST.get(name, ESTIMATORS[name]().least_samples)


PAIRS = [(name, case) for case, c in CASES.items() for name in ESTIMATORS if serves(name, c.p())]


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(n, c, id=f"{n}-{c}")
        for n, c in PAIRS
        if ESTIMATORS[n].unbiased and n not in CASES[c].skip
    ],
)
def test_unbiased_ones_pass_a_z_test(name, case):
    problem = CASES[case]
    p = problem.p()
    estimator = ESTIMATORS[name].fitting(p)
    samples = least(name)
    if problem.truth is None or estimator.objective != "mean":
        truth, error = true_gradient(problem.f, p, estimator.objective, samples)
        assert error.abs().max() == 0
    else:
        truth = torch.tensor(problem.truth, dtype=torch.float64)
    repeats = 2 if name == "enumeration" else REPEATS
    rows = gradients(estimator, problem.f, p, samples, repeats)
    tolerance = 5 * rows.std(0) / repeats**0.5 + 1e-6 * truth.abs().max()
    assert ((rows.mean(0) - truth).abs() < tolerance).all(), (rows.mean(0), truth, tolerance / 5)


def bernoulli(kind=torch.float64, requires_grad=True):
    """Two batch elements with events of three latents, as Bernoulli or one-hot."""
    logits = torch.tensor(LOGITS, dtype=kind, requires_grad=requires_grad)
    return logits, D.Independent(D.Bernoulli(logits=logits), 1)


def any_served(name):
    """A distribution with two batch elements that the estimator serves, and its parameter."""
    logits, p = bernoulli()
    if serves(name, p):
        return logits, p
    mean = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    return mean, D.Independent(D.Normal(mean, torch.ones_like(mean)), 1)


def quadratic(z):
    return (z - 0.3).square().sum(-1) + z[..., 0] * z[..., 1]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_record_has_one_shape(name):
    parameter, p = any_served(name)
    calls = []

    def f(z):
        calls.append(len(z))
        return quadratic(z)

    estimator = ESTIMATORS[name].fitting(p)
    estimate = estimator(f, p, 5)
    assert type(estimate) is Estimate
    assert estimate.value.shape == (2,) and not estimate.value.requires_grad
    assert estimate.surrogate.shape == () and estimate.auxiliary_loss.shape == ()
    assert torch.allclose(estimate.surrogate, estimate.value.sum())
    assert len(calls) == 1
    assert sum(calls) == estimator.evaluations(p, 5)
    gradient = torch.autograd.grad(estimate.surrogate, parameter)[0]
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


@pytest.mark.parametrize("name", ESTIMATORS)
def test_batch_elements_do_not_mix(name):
    """With f weighed by zero for one element, that element's gradient is zero."""
    parameter, p = any_served(name)
    weight = torch.tensor([1.0, 0.0], dtype=torch.float64)
    estimator = ESTIMATORS[name].fitting(p).eval()
    if name == "nvil":
        torch.nn.init.zeros_(estimator.learned.network[-1].weight)
        torch.nn.init.zeros_(estimator.learned.network[-1].bias)
    if name in ("relax", "lax"):
        torch.nn.init.zeros_(estimator.control.network[-1].weight)
        torch.nn.init.zeros_(estimator.control.network[-1].bias)
    surrogate = estimator(lambda z: quadratic(z) * weight, p, 5).surrogate
    gradient = torch.autograd.grad(surrogate, parameter)[0]
    assert gradient[1].abs().max() < 1e-12 and gradient[0].abs().max() > 0


@pytest.mark.parametrize("name", ESTIMATORS)
def test_parameters_that_f_holds_get_their_gradient(name):
    """∇_w of E[w · f(z)] is the value itself."""
    _, p = any_served(name)
    w = torch.ones((), dtype=torch.float64, requires_grad=True)
    estimate = ESTIMATORS[name].fitting(p)(lambda z: w + quadratic(z), p, 7)
    assert torch.allclose(torch.autograd.grad(estimate.surrogate, w)[0], torch.tensor(2.0).double())


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_value_estimates_the_objective(name):
    _, p = any_served(name)
    estimator = ESTIMATORS[name].fitting(p).eval()
    if estimator.objective != "mean" or name == "gumbel_softmax":
        pytest.skip("estimates another objective")
    if name == "gumbel_rao":
        estimator.draws = 1
    truth = p.sample((100_000,))
    value = estimator(quadratic, p, 20_000).value
    spread = quadratic(truth).std(0) / 20_000**0.5
    assert ((value - quadratic(truth).mean(0)).abs() < 6 * spread).all()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_auxiliary_loss_touches_its_own_parameters_only(name):
    parameter, p = any_served(name)
    w = torch.ones((), dtype=torch.float64, requires_grad=True)
    estimator = ESTIMATORS[name].fitting(p)
    loss = estimator(lambda z: w * quadratic(z), p, 4).auxiliary_loss
    own = list(estimator.parameters())
    assert loss.requires_grad == bool(own)
    if own:
        loss.backward()
        assert all(v.grad is not None for v in own) and any(v.grad.abs().sum() > 0 for v in own)
    assert parameter.grad is None and w.grad is None
    assert not estimator.eval()(quadratic, p, 4).auxiliary_loss.requires_grad


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_reloaded_one_continues_bit_equal(name):
    parameter, p = any_served(name)
    first, second = ESTIMATORS[name].fitting(p), ESTIMATORS[name].fitting(p)
    for _ in range(3):
        first(quadratic, p, 4)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file))
    outcomes = []
    for estimator in (first, second):
        torch.manual_seed(1)
        surrogate = estimator(quadratic, p, 4).surrogate
        outcomes.append(torch.autograd.grad(surrogate, parameter)[0])
    assert torch.equal(*outcomes)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_without_gradients_there_is_still_a_value(name):
    _, p = any_served(name)
    with torch.no_grad():
        estimate = ESTIMATORS[name].fitting(p).eval()(quadratic, p, 4)
    assert estimate.value.isfinite().all() and not estimate.surrogate.requires_grad
    fixed = D.Independent(type(p.base_dist)(*_constants(p)), 1)
    assert ESTIMATORS[name].fitting(fixed)(quadratic, fixed, 4).value.shape == (2,)


def _constants(p):
    base = p.base_dist
    return (base.probs.detach(),) if isinstance(base, D.Bernoulli) else (base.loc.detach(), base.scale)


DISCRETE = [name for name in ESTIMATORS if serves(name, bernoulli()[1])]
ONE_HOT = [name for name in DISCRETE if serves(name, D.OneHotCategorical(logits=torch.zeros(3)))]


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_infinite_bernoulli_logits_mean_their_limit(name, kind):
    infinity = float("inf")
    logits = torch.tensor([infinity, -infinity, 0.4], dtype=kind, requires_grad=True)
    p = D.Independent(D.Bernoulli(logits=logits), 1)
    estimate = ESTIMATORS[name].fitting(p)(quadratic, p, 6)
    gradient = torch.autograd.grad(estimate.surrogate, logits)[0]
    assert estimate.value.isfinite() and estimate.auxiliary_loss.isfinite()
    assert torch.equal(gradient[:2], torch.zeros(2, dtype=kind)) and gradient[2].isfinite()


@pytest.mark.parametrize("name", ONE_HOT)
def test_impossible_categories_mean_their_limit(name):
    logits = torch.tensor([[0.0, -float("inf"), 1.0], [-float("inf"), 0.0, -float("inf")]])
    logits = logits.double().requires_grad_()
    p = D.Independent(D.OneHotCategorical(logits=logits), 1)
    seen = []

    def f(z):
        seen.append(z.detach())
        return (z * torch.arange(6.0).double().view(2, 3)).sum((-1, -2)).square()

    estimate = ESTIMATORS[name].fitting(p)(f, p, 6)
    gradient = torch.autograd.grad(estimate.surrogate, logits)[0]
    assert gradient.isfinite().all() and estimate.auxiliary_loss.isfinite()
    assert (gradient[logits.isinf()] == 0).all() and gradient[1].abs().max() == 0
    if name != "enumeration":
        assert (seen[0][..., logits.isinf()] == 0).all()


@pytest.mark.parametrize("name", [*DISCRETE, "pathwise", "lax"])
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_other_precisions(name, kind):
    logits = torch.tensor(LOGITS, dtype=kind, requires_grad=True)
    base = D.Bernoulli(logits=logits) if name in DISCRETE else D.Normal(logits, torch.ones_like(logits))
    p = D.Independent(base, 1)
    estimate = ESTIMATORS[name].fitting(p)(quadratic, p, 4)
    (estimate.surrogate + estimate.auxiliary_loss).backward()
    assert logits.grad.dtype == kind and logits.grad.isfinite().all()
    assert estimate.value.dtype == kind


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("shape", [(), (2,), (2, 1, 3)], ids=str)
def test_latents_of_any_shape(name, shape):
    batch = torch.Size(shape)
    logits = torch.zeros(*batch, 2, 2, requires_grad=True)
    p = D.Independent(D.Bernoulli(logits=logits), 2)
    estimate = ESTIMATORS[name].fitting(p)(lambda z: (z.sum((-1, -2)) - 1.3) ** 2, p, 3)
    assert estimate.value.shape == batch
    estimate.surrogate.backward()
    assert logits.grad.shape == logits.shape


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_is_not_served_is_refused_with_names_that_are(name):
    p = D.VonMises(torch.zeros(()), torch.ones(()))
    if serves(name, p):
        pytest.skip("serves every family")
    with pytest.raises(UserError, match="score") as error:
        ESTIMATORS[name]()(lambda z: z, p)
    with pytest.raises(UserError, match="score"):
        ESTIMATORS[name].fitting(p)
    assert "VonMises" in error.value.given and ESTIMATORS[name].__name__ in error.value.expected


@pytest.mark.parametrize("name", ESTIMATORS)
def test_bad_functions_are_refused(name):
    _, p = any_served(name)
    estimator = ESTIMATORS[name].fitting(p)
    with pytest.raises(UserError, match="Independent"):
        estimator(lambda z: z, p, 4)
    if ESTIMATORS[name].needs_gradient:
        with pytest.raises(UserError, match="differentiable"):
            estimator(lambda z: quadratic(z.detach()), p, 4)
    if ESTIMATORS[name].least_samples > 1:
        with pytest.raises(UserError, match="at least"):
            estimator(quadratic, p, 1)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ESTIMATORS)
def test_on_a_gpu(name):
    parameter = torch.zeros(2, 3, device="cuda", requires_grad=True)
    p = D.Independent(D.Bernoulli(logits=parameter), 1)
    if not serves(name, p):
        p = D.Independent(D.Normal(parameter, torch.ones_like(parameter)), 1)
    estimate = ESTIMATORS[name].fitting(p).cuda()(quadratic, p, 4)
    (estimate.surrogate + estimate.auxiliary_loss).backward()
    assert parameter.grad.isfinite().all()
