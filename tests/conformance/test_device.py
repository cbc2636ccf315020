"""Every member of every table computes where its weights lie, on a device that refuses what a GPU refuses."""

from __future__ import annotations

import pytest
import torch
from torch import distributions as D

from caselli.divergence import DIVERGENCES, METHODS, CriticDivergence, DensityDivergence, Need
from caselli.estimator import ESTIMATORS
from caselli.sampling import best_engine, sample
from caselli.tokenizer import Tokenizer, TokenizerConfig, TokenizerTask
from tests.conformance import cases_prior
from tests.conformance.cases_mixer import BIDIRECTIONAL, build, label
from tests.conformance.cases_mixer import CASES as MIXERS
from tests.conformance.cases_quantizer import CASES as QUANTIZERS
from tests.conformance.cases_tokenizer import LEARNED, OPTIONS, SMALL
from tests.conformance.test_divergence import make, of
from tests.conformance.test_estimator import serves
from tests.conformance.test_resampler import EVERY as RESAMPLERS
from tests.pretend import NAME as DEVICE
from tests.pretend import WrongDevice, on_the_device


@pytest.mark.parametrize(
    "fault",
    [
        lambda x: x + torch.ones(3, 3),
        lambda x: torch.cat((x, torch.ones(3, 3))),
        lambda x: torch.ones(3, 3)[x.long()],
        lambda x: x @ torch.tensor(2.0).expand(3, 3),
        lambda x: torch.randn(2, device=x.device, generator=torch.Generator()),
        lambda x: x.numpy(),
        lambda x: x.long() @ x.long(),
    ],
)
@on_the_device
def test_the_device_refuses_what_a_gpu_refuses(fault):
    with pytest.raises(WrongDevice):
        fault(torch.ones(3, 3, device=DEVICE))


@pytest.mark.parametrize(
    "fair",
    [
        lambda x: x * torch.tensor(2.0),
        lambda x: x[torch.arange(2)],
        lambda x: torch.randn(2, device=x.device, generator=torch.Generator(x.device)),
        lambda x: x.cpu().numpy(),
        lambda x: x.copy_(torch.ones(3, 3)),
        lambda x: torch.where(x > 0, x, torch.tensor(0.0)),
    ],
)
@on_the_device
def test_the_device_takes_what_a_gpu_takes(fair):
    fair(torch.ones(3, 3, device=DEVICE))


@pytest.mark.parametrize("case", QUANTIZERS, ids=str)
@on_the_device
def test_quantizers(case):
    quantizer = case.build().to(DEVICE)
    for _ in range(2):
        latents = case.latents().to(DEVICE).requires_grad_()
        quantized = quantizer.train()(latents)
        (quantized.latents.sum() + quantized.loss).backward()
    found = quantizer.eval()(latents.detach())
    assert quantizer.decode(found.codes).device.type == DEVICE
    assert all(isinstance(value, float) or value.dim() == 0 for value in found.metrics.values())


@pytest.mark.parametrize("case", MIXERS + BIDIRECTIONAL, ids=label)
@on_the_device
def test_mixers(case):
    mixer = build(case).to(DEVICE)
    x = torch.randn(2, 7, 8, device=DEVICE, requires_grad=True)
    y, state = mixer(x)
    y.sum().backward()
    if case in MIXERS:
        for form in ("chunk", "step"):
            mixer(x[:, :2].detach(), state, form=form)
        mixer(x, starts=torch.tensor([[1, 0, 0, 1, 0, 0, 0]] * 2, dtype=torch.bool, device=DEVICE))


@pytest.mark.parametrize("name", cases_prior.CASES)
@on_the_device
def test_priors(name):
    prior = cases_prior.built(name).float().to(DEVICE)
    sizes = prior.alphabet.slot_sizes
    codes = torch.stack([torch.arange(6) % size for size in sizes], 1)
    labels = torch.tensor([0, 1] * 3)
    here, told = codes.to(DEVICE), labels.to(DEVICE)
    prior.train().training_loss(here, told, here, 0.6).backward()
    prior.eval()
    with torch.no_grad():
        assert prior.log_prob(here, told).device.type == DEVICE
        prior.log_probs_at(1, here, told)
        for condition in (labels, told):  # of a command, and of a training under way
            sample(prior, condition, list(range(6)))
        sample(best_engine(prior)[0], told, list(range(6)))


@pytest.mark.parametrize("name", LEARNED)
@on_the_device
def test_tokenizers(name):
    options = {"architecture_options": OPTIONS.get(name, {})}
    task = TokenizerTask(Tokenizer(TokenizerConfig(architecture=name, **SMALL, **options))).to(DEVICE)
    pictures = torch.rand(2, 3, 16, 16, device=DEVICE) * 2 - 1
    task.tokenizer(pictures)[0].sum().backward()
    task.eval()
    tokenizer = task.tokenizer
    assert tokenizer.decode(tokenizer.encode(pictures)).device.type == DEVICE


@pytest.mark.parametrize(
    ("kind", "name", "options", "way"),
    RESAMPLERS,
    ids=[f"{way}-{name}-{len(o)}" for _, name, o, way in RESAMPLERS],
)
@on_the_device
def test_resamplers(kind, name, options, way):
    module = kind(4, 6, 2, **options).to(DEVICE)
    module(torch.randn(2, 4, 6, 8, device=DEVICE, requires_grad=True)).sum().backward()


def _distributions():
    logits = torch.tensor([[0.3, -0.2, 0.5]] * 2, device=DEVICE, requires_grad=True)
    yield D.Independent(D.Bernoulli(logits=logits), 1)
    yield D.Categorical(logits=logits)
    yield D.OneHotCategorical(logits=logits)
    yield D.Independent(D.Normal(logits, torch.ones_like(logits)), 1)


@pytest.mark.parametrize("name", ESTIMATORS)
@on_the_device
def test_estimators(name):
    served = [p for p in _distributions() if serves(name, p)]
    assert served
    for p in served:
        estimator = ESTIMATORS[name].fitting(p).to(DEVICE)
        estimate = estimator(lambda z: (z.float() ** 2).reshape(*z.shape[:2], -1).sum(-1), p, 4)
        (estimate.surrogate + estimate.auxiliary_loss).sum().backward()


@pytest.mark.parametrize("name", DIVERGENCES)
@on_the_device
def test_divergences(name):
    divergence = make(name)
    mean = torch.zeros(3, 1, device=DEVICE, requires_grad=True)
    p, q = D.Normal(mean, torch.ones_like(mean)), D.Normal(mean.detach() + 1, torch.ones_like(mean))
    here, there = q.sample((5,)).flatten(0, 1), p.rsample((5,)).flatten(0, 1)
    if isinstance(divergence, CriticDivergence):
        critic = divergence.prepare(
            torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Linear(4, 1)).to(DEVICE)
        )
        outputs = critic(here), critic(there)
        loss = divergence.critic_loss(*outputs) + divergence.penalty(critic, here, there.detach())
        (loss + divergence.generator_loss(*outputs)).backward()
        divergence.constrain(critic)
        return
    given = {
        Need.TWO_DENSITIES: (p, q),
        Need.TWO_SAMPLES: (here, there),
        Need.DENSITY_AND_SAMPLES: (p.rsample((5,)), q),
    }
    divergence(*given[divergence.needs]).value.sum().backward()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", of(DensityDivergence))
@on_the_device
def test_methods_of_densities(name, method):
    logits = torch.tensor([0.3, -0.2, 0.5], device=DEVICE, requires_grad=True)
    if method == "sum":
        p, q = D.Categorical(logits=logits), D.Categorical(logits=-logits.detach())
    else:
        p, q = D.Normal(logits, torch.ones_like(logits)), D.Normal(-logits.detach(), torch.ones_like(logits))
    if method == "closed form" and make(name).closed_form(p, q) is None:
        return
    make(name, method=method, samples=100)(p, q).value.sum().backward()
