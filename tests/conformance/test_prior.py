"""The laws of every prior: probabilities, gradients, what is kept, noise, files."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from torch import nn

from caselli.errors import UserError
from caselli.order import ORDERS
from caselli.prior import PRIORS, Conditioner, PriorConfig, PriorTask, build
from caselli.quantizer import MultiScale
from caselli.sampling import Sampling, best_engine, sample
from caselli.weights import load_weights, save_weights
from tests.conformance.cases_prior import CASES, SCALES, alphabet_of, built

every_prior = pytest.mark.parametrize("name", CASES)


def sequences_of(prior):
    """All of them."""
    sizes = prior.alphabet.slot_sizes
    return torch.tensor(list(itertools.product(*map(range, sizes))))


def number_of(prior, codes):
    """Which of `sequences_of` each is."""
    sizes = prior.alphabet.slot_sizes
    weights = [math.prod(sizes[slot + 1 :]) for slot in range(len(sizes))]
    return (codes * torch.tensor(weights)).sum(1)


def excess(prior, codes, p):
    """Standard deviations by which chi-square lies above its mean, cells of few samples joined."""
    seen = torch.bincount(number_of(prior, codes), minlength=len(p)).double()
    expected = p.double() * len(codes)
    assert (seen[expected == 0] == 0).all()
    rare = expected < 5
    seen, expected = (torch.cat((x[~rare], x[rare].sum()[None])) for x in (seen, expected))
    chi = ((seen - expected) ** 2 / expected.clamp_min(1)).sum().item()
    degrees = max(1, len(expected) - 1)
    return (chi - degrees) / math.sqrt(2 * degrees)


def probabilities_of(prior, label):
    sequences = sequences_of(prior)
    with torch.no_grad():
        return prior.log_prob(sequences, torch.full((len(sequences),), label)).sum(1).exp()


def test_every_prior_of_the_table_is_under_test():
    assert {options.get("kind", "autoregressive") for options, _, _ in CASES.values()} == set(PRIORS)
    for name, kind in PRIORS.items():
        assert kind.kind == name


@every_prior
def test_a_prior_has_the_parts_that_it_declares(name):
    prior = built(name)
    assert isinstance(prior.conditioner, Conditioner) and isinstance(prior.head, nn.Linear)
    assert isinstance(prior.blocks, nn.ModuleList) and len(prior.blocks) == prior.config.depth
    assert set(prior.sampling_options) <= {field.name for field in dataclasses.fields(Sampling)}


@every_prior
def test_what_log_prob_is(name):
    """A probability sums to one; a bound lies below one."""
    prior = built(name)
    p = probabilities_of(prior, 1)
    assert p.shape == (len(sequences_of(prior)),)
    if prior.exact:
        assert p.sum().item() == pytest.approx(1, abs=1e-5)
        assert p.max() > 2 / len(p), "away from the uniform start"
    else:
        assert 0 < p.sum().item() < 1.2


@every_prior
def test_log_prob_of_a_row_does_not_depend_on_the_others(name):
    prior = built(name)
    sequences = sequences_of(prior)[::25]
    condition = torch.arange(len(sequences)) % 2
    together = prior.log_prob(sequences, condition)
    alone = prior.log_prob(sequences[3:4], condition[3:4])
    torch.testing.assert_close(together[3:4], alone)
    torch.testing.assert_close(prior.log_prob(sequences, condition, sequences), together)
    assert not torch.allclose(together, prior.log_prob(sequences, 1 - condition)), "the label matters"


@every_prior
def test_a_slot_has_a_distribution_of_its_own(name):
    prior, sequences = built(name), sequences_of(built(name))[::7]
    label = torch.ones(len(sequences), dtype=torch.int64)
    whole = prior.log_prob(sequences, label)
    for slot in range(sequences.shape[1]):
        found = prior.log_probs_at(slot, sequences, label)
        assert found.shape == (len(sequences), prior.alphabet.slot_sizes[slot])
        torch.testing.assert_close(found.exp().sum(1), torch.ones(len(sequences)).double(), check_dtype=False)
        other = sequences.clone()
        other[:, slot] = 0
        torch.testing.assert_close(prior.log_probs_at(slot, other, label), found)
        if prior.exact and not prior.any_order:
            own = found.gather(1, sequences[:, slot, None])[:, 0]
            torch.testing.assert_close(own, whole[:, slot].to(own))


@every_prior
def test_every_parameter_learns_and_training_lowers_the_loss(name):
    prior = built(name).float().train()
    sequences, labels = sequences_of(prior)[::4], torch.ones(len(sequences_of(prior)[::4]), dtype=torch.int64)
    prior.training_loss(sequences, labels, sequences, 0.6).backward()
    missing = [n for n, p in prior.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    optimiser = torch.optim.Adam(prior.parameters(), 1e-2)
    few, losses = sequences[:1].expand(16, -1), []
    for _ in range(30):
        optimiser.zero_grad()
        loss = prior.training_loss(few, labels[:1].expand(16), few, 1.0)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


@every_prior
def test_samples_follow_the_distribution(name):
    prior = built(name)
    if not prior.exact:
        pytest.skip("drawn in rounds: see test_priors_masked.py")
    codes = sample(prior, torch.ones(2_000, dtype=torch.int64), list(range(2_000)))
    assert excess(prior, codes, probabilities_of(prior, 1)) < 5


@every_prior
def test_guided_samples_are_the_conditions_at_strength_one(name):
    """Both rows go through the layers, and the mixture of equal ones is the condition's own."""
    prior, label = built(name), torch.ones(40, dtype=torch.int64)
    plain = sample(prior, label, list(range(40)))
    near = sample(prior, label, list(range(40)), Sampling(guidance=1 + 1e-9))
    assert (near == plain).float().mean() > 0.99
    assert not torch.equal(sample(prior, label, list(range(40)), Sampling(guidance=4.0)), plain)


@every_prior
def test_known_codes_are_kept(name):
    prior, told = built(name), []
    known = sequences_of(prior)[torch.arange(40) * 7 % len(sequences_of(prior))]
    hidden = torch.rand(known.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    hidden[:3], hidden[3:6] = True, False
    given = known.masked_fill(hidden, -1)
    seen = []
    codes = sample(
        prior,
        None,
        list(range(40)),
        known=given,
        progress=told.append,
        watch=lambda now: seen.append(now.clone()),
    )
    assert torch.equal(seen[-1], codes), "who watches sees the last codes too"
    assert all(torch.equal(now[~hidden], known[~hidden]) for now in seen)
    assert torch.equal(codes[~hidden], known[~hidden]) and (codes >= 0).all()
    sizes = torch.tensor(prior.alphabet.slot_sizes)
    assert (codes < sizes).all() and sum(told) >= hidden.sum()
    assert torch.equal(sample(prior, None, list(range(40)), known=known), known)


@every_prior
def test_codes_known_in_front_are_conditioned_on(name):
    """Front are the slots that are drawn first: known, they are seen by all others."""
    prior = built(name)
    if not prior.exact:
        pytest.skip("drawn in rounds: see test_priors_masked.py")
    if prior.kind == "parallel_order":
        pytest.skip("what is known changes the rounds: see test_priors_parallel_order.py")
    known = torch.full((1_500, prior.alphabet.length), -1)
    known[:, 0] = 1
    known[750:, 1] = 0
    codes = sample(prior, torch.zeros(1_500, dtype=torch.int64), list(range(1_500)), known=known)
    p, sequences = probabilities_of(prior, 0), sequences_of(prior)
    first = sequences[:, 0] == 1
    for rows, fits in ((codes[:750], first), (codes[750:], first & (sequences[:, 1] == 0))):
        assert excess(prior, rows, p * fits / (p * fits).sum()) < 5


@every_prior
def test_a_sample_depends_on_its_seed_alone(name):
    prior = built(name)
    together = sample(prior, None, [3, 4, 5, 6])
    assert torch.equal(together[1:2], sample(prior, None, [4]))
    assert torch.equal(together, sample(prior, None, [3, 4, 5, 6]))
    assert not torch.equal(sample(prior, None, list(range(20))), sample(prior, None, list(range(20, 40))))


@every_prior
def test_the_best_engine_draws_the_same(name):
    prior = built(name).float()
    engine, _ = best_engine(prior)
    seeds, labels = list(range(60)), torch.arange(60) % 3
    same = sample(engine, labels, seeds) == sample(prior, labels, seeds)
    assert same.float().mean() > 0.97
    assert engine.bytes_per_step() > 0


@every_prior
def test_files(name, tmp_path):
    prior, other = built(name).float(), built(name).float()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    save_weights(tmp_path / "prior", prior, {})
    load_weights(tmp_path / "prior", other)
    sequences = sequences_of(prior)[::9]
    assert torch.equal(prior.log_prob(sequences, None), other.log_prob(sequences, None))


@every_prior
def test_half_precision(name):
    """Training and validation under autocast are near those in float32."""
    prior = built(name).float()
    sequences, labels = (
        sequences_of(prior)[::3],
        torch.zeros(len(sequences_of(prior)[::3]), dtype=torch.int64),
    )
    with torch.autocast("cpu", torch.bfloat16):
        prior.training_loss(sequences, labels, sequences, 0.0).backward()
        rough = prior.log_prob(sequences, labels)
    exact = prior.log_prob(sequences, labels)
    assert rough.dtype == torch.float32 and (rough - exact).abs().mean() < 0.15
    assert all(p.grad.isfinite().all() for p in prior.parameters() if p.requires_grad)


@every_prior
def test_the_task(name):
    """Loss and validation are finite, and Muon's matrices are matrices."""
    prior = built(name).float()
    options, grid, _ = CASES[name]
    task = PriorTask(prior, ORDERS[options.get("order", "raster")](), grid)
    codes = task.order.restore(sequences_of(prior)[::5], grid)

    class Batch:
        labels, captions = torch.zeros(len(codes), dtype=torch.int64), None
        indices = torch.arange(len(codes))

    Batch.codes = codes
    assert task(Batch, 0).total.isfinite() and task.validate(Batch)["bits_per_code"].isfinite()
    assert task.hidden_matrices() and all(matrix.ndim == 2 for matrix in task.hidden_matrices())


@pytest.mark.parametrize("kind", PRIORS)
def test_mistakes_are_named(kind):
    alphabet = alphabet_of(CASES["masked"][1], (3,))
    quantizer = MultiScale(4, **SCALES["next_scale"])
    with pytest.raises(UserError, match="did you mean autoregressive"):
        build(PriorConfig(kind="autoregresive"), alphabet)
    with pytest.raises(UserError, match="nonsense"):
        build(PriorConfig(kind=kind, width=32, depth=1, prior_options={"nonsense": 1}), alphabet, quantizer)
    other = "masked" if kind != "masked" else "parallel"
    with pytest.raises(UserError, match="expected"):
        PRIORS[kind](PriorConfig(kind=other), alphabet)


@every_prior
def test_options_that_only_some_kinds_know(name):
    prior = built(name)
    for options in (Sampling(steps=2), Sampling(mask_schedule="linear"), Sampling(choice_temperature=0.0)):
        if set(options.changed()) <= set(prior.sampling_options):
            assert sample(prior, None, [0], options).shape == (1, prior.alphabet.length)
        else:
            with pytest.raises(UserError, match=r"a masked .*prior was expected"):
                sample(prior, None, [0], options)
