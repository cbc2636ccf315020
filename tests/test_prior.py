"""The prior: one distribution, whichever way it is computed, and samples that follow it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caselli.errors import UserError
from caselli.mixer import MIXERS
from caselli.order import Delayed, Grid
from caselli.prior import Alphabet, Autoregressive, PriorConfig, Sampling, sample
from caselli.prior.sampling import draw, noise, probabilities

ALPHABET = Alphabet((3,), (0,) * 4, classes=2)
"""Four codes of three kinds, two labels: 81 sequences."""
CAUSAL = [name for name, kind in MIXERS.items() if kind(width=64).causal]
"""The mixers that an autoregressive prior takes."""


def prior(mixer="attention", alphabet=ALPHABET, **options):
    torch.manual_seed(0)
    model = Autoregressive(PriorConfig(mixer=mixer, width=64, depth=2, **options), alphabet).double().eval()
    with torch.no_grad():  # away from the nearly uniform start
        model.head.weight.mul_(40)
    return model


def all_sequences(alphabet):
    sizes = [alphabet.sizes[q] for q in alphabet.codebooks]
    return torch.tensor(list(itertools.product(*map(range, sizes))))


def stepwise_log_prob(model, sequence, condition):
    logits, state = model.start(condition, len(sequence))
    terms = []
    for slot in range(model.alphabet.length):
        entry = sequence[:, slot] + model.offset[slot]
        terms.append(logits.log_softmax(-1).gather(1, entry[:, None])[:, 0])
        if slot + 1 < model.alphabet.length:
            logits, state = model.step(sequence[:, slot], state)
    return torch.stack(terms, 1)


@pytest.mark.parametrize("mixer", CAUSAL)
def test_probabilities_sum_to_one_and_steps_equal_parallel(mixer):
    model = prior(mixer)
    sequences = all_sequences(model.alphabet)
    condition = torch.ones(len(sequences), dtype=torch.int64)
    with torch.no_grad():
        parallel = model.log_prob(sequences, condition)
        steps = stepwise_log_prob(model, sequences, condition)
    assert parallel.sum(1).exp().sum().item() == pytest.approx(1, abs=1e-6)
    assert (parallel - steps).abs().max() < 1e-5  # logits are given in float32


@pytest.mark.parametrize("mixer", ["attention", "mamba2"])
@pytest.mark.parametrize("label", [None, 1])
def test_samples_follow_the_distribution(mixer, label):
    """A chi-square test of 5,000 samples against the exact probabilities of all 81 sequences."""
    if mixer not in MIXERS:
        pytest.skip(f"no mixer {mixer} yet")
    model = prior(mixer)
    count = 5_000
    condition = None if label is None else torch.full((count,), label)
    codes = sample(model, condition, list(range(count)))
    sequences = all_sequences(model.alphabet)
    one = None if label is None else torch.full((len(sequences),), label)
    with torch.no_grad():
        p = model.log_prob(sequences, one).sum(1).exp().double()
    index = (codes * torch.tensor([27, 9, 3, 1])).sum(1)
    expected, seen = p * count, torch.bincount(index, minlength=81).double()
    rare = expected < 5
    expected = torch.cat((expected[~rare], expected[rare].sum()[None]))
    seen = torch.cat((seen[~rare], seen[rare].sum()[None]))
    chi = ((seen - expected) ** 2 / expected.clamp_min(1)).sum().item()
    degrees = len(expected) - 1
    assert chi < degrees + 5 * math.sqrt(2 * degrees)


def test_a_sample_depends_on_its_seed_alone():
    model = prior()
    together = sample(model, None, [3, 4, 5])
    assert torch.equal(together[1:2], sample(model, None, [4]))
    assert not torch.equal(noise([3], 8), noise([4], 8))


def test_temperature_zero_takes_the_likeliest():
    model = prior()
    codes = sample(model, None, [0, 1], Sampling(temperature=0.0))
    assert torch.equal(codes[0], codes[1])
    with torch.no_grad():
        assert codes[0, 0] == model.logits(codes, None)[0, 0].argmax()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-20, 20), min_size=2, max_size=8, unique=True),
    st.integers(0, 9),
    st.floats(0.05, 1.0),
    st.floats(0.1, 4.0),
)
def test_truncation(logits, top_k, top_p, temperature):
    logits = torch.tensor([logits], dtype=torch.float64)
    p = probabilities(logits, Sampling(temperature, top_k, top_p))[0]
    assert p.sum().item() == pytest.approx(1)
    kept = (p > 0).sum()
    assert 1 <= kept <= (top_k or 99)
    full = (logits / temperature).softmax(-1)[0]
    order = full.argsort(descending=True)
    if top_k == 0 and top_p < 1:  # the fewest likeliest codes that hold top_p
        assert full[order[: kept - 1]].sum() < top_p + 1e-9
    assert full[p.argmax()] == full.max()


def test_draw_is_exact_inversion():
    p = torch.tensor([[0.25, 0.0, 0.75]]).expand(4, 3)
    assert draw(p, torch.tensor([0.0, 0.2499, 0.25, 0.9999])).tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize("options", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1}])
def test_wrong_sampling_options(options):
    with pytest.raises(UserError, match="was expected"):
        Sampling(**options)


def test_several_codebooks_stay_apart():
    grid = Grid(2, 1, codebooks=2)
    alphabet = Alphabet((2, 5), tuple(Delayed().codebook(grid).tolist()))
    model = prior(alphabet=alphabet)
    sequences = all_sequences(alphabet)
    assert model.log_prob(sequences, None).sum(1).exp().sum().item() == pytest.approx(1, abs=1e-6)
    codes = sample(model, None, list(range(200)))
    sizes = torch.tensor(alphabet.sizes)[torch.tensor(alphabet.codebooks)]
    assert (codes >= 0).all() and (codes < sizes).all()


def test_hybrids_and_their_options():
    names = [name for name in ("attention", "local") if name in MIXERS]
    model = prior(names, mixer_options={"heads": 2})
    kinds = [type(block.mixer) for block in model.blocks]
    assert kinds == [MIXERS[name] for name in (names * 2)[:2]]
    with pytest.raises(UserError, match="heds"):
        prior("attention", mixer_options={"heds": 2})
    with pytest.raises(UserError, match="attention"):
        prior("atention")


def test_mixers_that_are_not_causal_are_refused():
    for name in set(MIXERS) - set(CAUSAL):
        with pytest.raises(UserError, match="causal"):
            prior(name)
