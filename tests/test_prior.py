"""The prior: one distribution, whichever way it is computed, and samples that follow it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caselli.errors import UserError
from caselli.mixer import MIXERS
from caselli.order import Delayed, Grid, Raster
from caselli.prior import Alphabet, Autoregressive, PriorConfig
from caselli.prior.task import PriorTask, corrupted
from caselli.sampling import Sampling, sample
from caselli.sampling.choice import guided, inverse_transform, probabilities, uniform_noise

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


def exact(model, label):
    """Probabilities of all sequences."""
    sequences = all_sequences(model.alphabet)
    condition = None if label is None else torch.full((len(sequences),), label)
    with torch.no_grad():
        return model.log_prob(sequences, condition).sum(1).exp().double()


def stepwise_exact(model, label, options):
    """Probabilities of all sequences under options that change each step's distribution."""
    sequences = all_sequences(model.alphabet)
    condition = torch.full((len(sequences),), label)
    with torch.no_grad():
        both = [model.logits(sequences, c) for c in (condition, torch.full_like(condition, 2))]
    p = torch.ones(len(sequences), dtype=torch.float64)
    for slot, strength in enumerate(options.strengths(model.alphabet.length)):
        logits = guided(torch.cat([logits[:, slot] for logits in both]), strength)
        p *= probabilities(logits, options).gather(1, sequences[:, slot : slot + 1])[:, 0]
    return p


def chi_square(codes, p):
    """Standard deviations by which the statistic lies above its mean, cells of few samples joined."""
    assert codes.min() >= 0 and codes.max() <= 2
    seen = torch.bincount((codes * torch.tensor([27, 9, 3, 1])).sum(1), minlength=81).double()
    expected = p * len(codes)
    assert (seen[expected == 0] == 0).all()
    rare = expected < 5
    expected = torch.cat((expected[~rare], expected[rare].sum()[None])).clamp_min(1e-9)
    seen = torch.cat((seen[~rare], seen[rare].sum()[None]))
    chi = ((seen - expected) ** 2 / expected.clamp_min(1)).sum().item()
    degrees = max(1, len(expected) - 1)
    return (chi - degrees) / math.sqrt(2 * degrees)


@pytest.mark.parametrize("mixer", CAUSAL)
def test_samples_follow_the_distribution(mixer):
    """Samples of every mixer against the exact probabilities of all 81 sequences."""
    model = prior(mixer)
    codes = sample(model, torch.ones(1_500, dtype=torch.int64), list(range(1_500)))
    assert chi_square(codes, exact(model, 1)) < 5


UNCHANGING = [
    {"top_k": 3},
    {"top_k": 99},
    {"guidance_schedule": "cosine"},
    {"guidance": 5.0, "guidance_from": 0.1, "guidance_to": 0.2},
    {"guidance": 7.0, "guidance_schedule": "linear", "guidance_to": 0.0},
]
"""Options that leave the distribution alone: four slots lie at shares 0, ⅓, ⅔ and 1."""


@pytest.mark.parametrize("mixer", ["attention", "linear"])
@pytest.mark.parametrize("options", UNCHANGING, ids=str)
def test_options_that_leave_the_distribution_alone(mixer, options):
    model = prior(mixer)
    seeds, label = list(range(1_500)), torch.ones(1_500, dtype=torch.int64)
    plain = sample(model, label, seeds)
    codes = sample(model, label, seeds, Sampling(**options))
    assert (codes == plain).float().mean() > 0.999  # the same noise, up to rounding
    assert chi_square(codes, exact(model, 1)) < 5


@pytest.mark.parametrize("mixer", ["attention", "gated_delta_net"])
def test_samples_without_a_label_follow_the_null_label(mixer):
    model = prior(mixer)
    codes = torch.cat(
        [sample(model, None, list(range(first, first + 500))) for first in range(0, 3_000, 500)]
    )
    assert chi_square(codes, exact(model, None)) < 5


CHANGING = [
    {"guidance": 2.5},
    {"guidance": 0.0},
    {"guidance": 3.0, "guidance_schedule": "linear"},
    {"guidance": 3.0, "guidance_schedule": "cosine", "guidance_from": 0.5},
    {"temperature": 0.7, "top_k": 2, "guidance": 1.5},
    {"min_p": 0.4},
    {"temperature": 1.5, "top_p": 0.8, "min_p": 0.1},
]


def test_guidance_that_is_asked_for_takes_the_place_of_the_priors_own():
    model, labels, seeds = prior(), torch.tensor([0, 1, 1, 0]), [0, 1, 2, 3]
    asked = sample(model, labels, seeds, Sampling(guidance=6.0, guidance_schedule="linear"))
    even = sample(model, labels, seeds, Sampling(guidance=6.0))
    model.config = dataclasses.replace(model.config, guidance=6.0, guidance_schedule="linear")
    assert torch.equal(sample(model, labels, seeds), asked) and not torch.equal(asked, even)
    assert torch.equal(sample(model, labels, seeds, Sampling(guidance_schedule="constant")), even)
    with pytest.raises(UserError, match="did you mean linear"):
        dataclasses.replace(model.config, guidance_schedule="linar")


@pytest.mark.parametrize("options", CHANGING, ids=str)
def test_samples_follow_the_options(options):
    """Guidance and truncation against each step's own definition, over all sequences."""
    model, options = prior(), Sampling(**options)
    p = stepwise_exact(model, 1, options)
    assert p.sum().item() == pytest.approx(1, abs=1e-5)
    assert not torch.allclose(p, exact(model, 1), atol=1e-3)
    codes = sample(model, torch.ones(3_000, dtype=torch.int64), list(range(3_000)), options)
    assert chi_square(codes, p) < 5


@pytest.mark.parametrize("mixer", CAUSAL)
def test_known_codes_are_kept_and_conditioned_on(mixer):
    """Rows that know two codes, one, and none: each follows what is left of its distribution."""
    model = prior(mixer)
    known = torch.full((2_000, 4), -1)
    known[:, 0] = 2
    known[1_000:, 1] = 1
    codes = sample(model, torch.zeros(2_000, dtype=torch.int64), list(range(2_000)), known=known)
    assert (codes[:, 0] == 2).all() and (codes[1_000:, 1] == 1).all()
    p, sequences = exact(model, 0), all_sequences(model.alphabet)
    for rows, told in ((codes[:1_000], {0: 2}), (codes[1_000:], {0: 2, 1: 1})):
        fits = torch.stack([sequences[:, slot] == code for slot, code in told.items()]).all(0)
        left = p * fits
        assert chi_square(rows, left / left.sum()) < 5


def test_known_codes_behind_unknown_ones():
    """They are kept, and seen by what comes behind them alone."""
    model = prior()
    known = torch.tensor([[-1, 0, -1, 2]]).expand(1_500, 4)
    codes = sample(model, torch.zeros(1_500, dtype=torch.int64), list(range(1_500)), known=known)
    assert (codes[:, 1] == 0).all() and (codes[:, 3] == 2).all()
    sequences = all_sequences(model.alphabet)
    with torch.no_grad():
        steps = model.log_prob(sequences, torch.zeros(81, dtype=torch.int64)).exp().double()
    p = steps[:, 0] * steps[:, 2] * ((sequences[:, 1] == 0) & (sequences[:, 3] == 2))
    assert chi_square(codes, p) < 5
    whole = torch.tensor([[0, 1, 2, 0]])
    assert torch.equal(sample(model, None, [0], known=whole), whole)


def test_guidance_needs_a_label():
    with pytest.raises(UserError, match="without a label"):
        sample(prior(), None, [0], Sampling(guidance=2.0))


def test_corrupted_codes():
    """A share of the codes is random, each in its own codebook's range; none at share 0."""
    alphabet = Alphabet((2, 50), (0, 1) * 8)
    sequence = torch.zeros(400, 16, dtype=torch.int64)
    assert corrupted(sequence, alphabet, 0.0) is sequence
    seen = corrupted(sequence, alphabet, 0.5)
    assert seen[:, ::2].max() == 1 and seen[:, 1::2].max() == 49 and seen.min() == 0
    assert (seen[:, ::2] > 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert (seen[:, 1::2] > 0).float().mean().item() == pytest.approx(0.49, abs=0.03)


def test_a_sample_depends_on_its_seed_alone():
    model = prior()
    together = sample(model, None, [3, 4, 5])
    assert torch.equal(together[1:2], sample(model, None, [4]))
    assert not torch.equal(uniform_noise([3], 8), uniform_noise([4], 8))


def test_temperature_zero_takes_the_likeliest():
    model = prior()
    codes = sample(model, None, [0, 1], Sampling(temperature=0.0))
    assert torch.equal(codes[0], codes[1])
    with torch.no_grad():
        assert codes[0, 0] == model.logits(codes, None)[0, 0].argmax()


def test_training_with_dropped_codes_predicts_the_true_ones(monkeypatch):
    """The loss is that of the sequence itself behind corrupted inputs; validation sees it as it is."""
    grid, batch = Grid(2, 2), SimpleNamespace(codes=torch.randint(3, (8, 2, 2)), labels=None)
    model = prior(code_dropout=0.5)
    task, sequence = PriorTask(model, Raster(), grid), Raster().flatten(batch.codes, grid)
    seen = torch.randint(3, (8, 4))
    monkeypatch.setattr("caselli.prior.task.corrupted", lambda given, alphabet, share: seen)
    logits = model.logits(seen, None).log_softmax(-1)
    expected = -logits.gather(2, sequence[..., None]).mean()
    torch.testing.assert_close(task(batch, 0).total, expected)
    torch.testing.assert_close(task.validate(batch)["loss"], -model.log_prob(sequence, None).mean())


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
    assert inverse_transform(p, torch.tensor([0.0, 0.2499, 0.25, 0.9999])).tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1.0},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_k": -1},
        {"min_p": 1.1},
        {"guidance": -0.5},
        {"guidance_from": 0.6, "guidance_to": 0.5},
        {"guidance_schedule": "constand"},
    ],
)
def test_wrong_sampling_options(options):
    with pytest.raises(UserError, match=r"was expected|did you mean constant"):
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
