"""The fused engine is the eager one: the same codes by the same noise, whatever the batch and the options."""

from __future__ import annotations

import pytest
import torch

from caselli.errors import UserError
from caselli.order import Delayed, Grid
from caselli.prior import Alphabet, Autoregressive, LayerConfig, PriorConfig
from caselli.sampling import (
    ENGINES,
    EagerEngine,
    FusedEngine,
    PackedEngine,
    Sampling,
    Unavailable,
    best_engine,
    rounded,
    sample,
)
from caselli.sampling import compile as native_step
from caselli.sampling.rounding import WEIGHT_PRECISIONS, rounded_weight
from tests.conformance.cases_prior import CASES as PRIOR_CASES
from tests.conformance.cases_prior import built
from tests.test_prior import ALPHABET, CAUSAL, chi_square, exact

try:
    native_step.library()
    reason = ""
except Unavailable as error:
    reason = str(error)
needs_compiler = pytest.mark.skipif(bool(reason), reason=reason or "compiled")

LONG = Alphabet((37,), (0,) * 40, classes=3)
"""More slots than two vectors have lanes; a number of codes that fills no vector."""
CASES = {
    "attention": ("attention", {}),
    "grouped queries": ("attention", {"heads": 6, "kv_heads": 2}),
    "odd head width": ("attention", {"heads": 3}),
    "no rotary": ("attention", {"rotary_base": 0.0}),
    "squared ReLU": ("attention", {}),
    "normalised queries": ("attention", {"query_key_norm": "layer", "heads": 6, "kv_heads": 3}),
    "local": ("local", {"heads": 3, "window": 7}),
    "wide local": ("local", {"window": 19, "heads": 2, "kv_heads": 1}),
    "mamba": ("mamba", {}),
    "small mamba": ("mamba", {"state_size": 3, "convolution": 1, "expand": 1, "delta_rank": 5}),
    "mamba without a bias": ("mamba", {"convolution_bias": False}),
    "no MLP": ("attention", {}),
    "hybrid": (["attention", "mamba", "local"], {"convolution": 2, "window": 3}),
}


def build(case="attention", alphabet=LONG, width=60, scale=40.0):
    torch.manual_seed(0)
    mixer, options = CASES[case]
    config = PriorConfig(
        mixer=mixer,
        width=width,
        depth=3 if isinstance(mixer, list) else 2,
        mixer_options=options,
        expansion=0 if case == "no MLP" else 4,
        layer=LayerConfig(activation="squared_relu" if case == "squared ReLU" else "gelu"),
    )
    model = Autoregressive(config, alphabet).eval()
    with torch.no_grad():  # away from the nearly uniform start, no weight at its initial 0 or 1
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        model.head.weight.mul_(scale)
    return model


@needs_compiler
@pytest.mark.parametrize("case", CASES)
def test_fused_logits_equal_the_prior(case):
    """Driven along given codes, one by one from the first slot on, against the parallel form."""
    model = build(case)
    codes = torch.randint(37, (3, 40))
    engine, known = FusedEngine(model), codes.clone()
    known[:, -1] = -1
    known[1, :] = -1  # one row is drawn from the start, so that nothing is taken in at once
    drawn = sample(engine, torch.tensor([0, 1, 2]), [0, 1, 2], known=known)
    assert torch.equal(drawn[::2, :-1], codes[::2, :-1])
    with torch.no_grad():
        expected = model.logits(drawn, torch.tensor([0, 1, 2]))[:, -1]
    error = (engine.steps.logits - expected).abs().max() / expected.abs().max()
    assert error < 2e-5


@needs_compiler
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("known", [0, 1, 17, 39])
def test_fused_samples_equal_eager_ones(case, known):
    """Continuing any number of known codes, which are taken in by the parallel form."""
    model, engine = build(case), FusedEngine(build(case))
    labels, seeds = torch.tensor([0, 1, 2, 3, 0]), [5, 6, 7, 8, 9]
    prompt = torch.full((5, 40), -1)
    prompt[:, :known] = torch.randint(37, (5, known))
    prompt[3, : min(known + 3, 40)] = 1
    options = {"known": prompt if known else None}
    assert torch.equal(
        sample(engine, labels, seeds, **options), sample(EagerEngine(model), labels, seeds, **options)
    )


OPTIONS = [
    {"temperature": 0.0},
    {"temperature": 0.6},
    {"top_k": 5},
    {"top_p": 0.7},
    {"min_p": 0.2},
    {"top_k": 12, "top_p": 0.9, "min_p": 0.05, "temperature": 1.3},
    {"guidance": 2.0},
    {"guidance": 3.0, "guidance_schedule": "cosine", "guidance_from": 0.2, "guidance_to": 0.8, "top_k": 9},
]


@needs_compiler
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_fused_options_equal_eager_ones(options):
    model = build()
    engine, labels, seeds = FusedEngine(model), torch.arange(3).repeat(4), list(range(12))
    for slots in (0, 9):
        known = torch.full((12, 40), -1)
        known[:, :slots] = 3
        arguments = (labels, seeds, Sampling(**options))
        fused = sample(engine, *arguments, known=known)
        assert torch.equal(fused, sample(EagerEngine(model), *arguments, known=known))


@needs_compiler
def test_a_fused_sample_does_not_depend_on_those_beside_it():
    """To the last bit: the logits of a row are the same in batches of every size."""
    model = build("hybrid")
    engine, alone = FusedEngine(model), FusedEngine(model)
    for batch in (2, 3, 5, 8, 13):
        together = sample(engine, None, list(range(batch)))
        one = sample(alone, None, [batch - 1])
        assert torch.equal(together[-1], one[0])
        assert torch.equal(engine.steps.logits[-1], alone.steps.logits[0])


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_a_bit(threads):
    model, before = build("hybrid"), torch.get_num_threads()
    expected = FusedEngine(model)
    sample(expected, None, [1, 2, 3])
    try:
        torch.set_num_threads(threads)
        engine = FusedEngine(model)
        sample(engine, None, [1, 2, 3])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(engine.steps.logits, expected.steps.logits)


@needs_compiler
@pytest.mark.parametrize("precision", WEIGHT_PRECISIONS)
@pytest.mark.parametrize("case", ["attention", "mamba"])
def test_precisions_follow_the_rounded_prior(precision, case):
    model = build(case)
    engine = FusedEngine(model, precision)
    codes = sample(engine, None, [0, 1, 2, 3])
    with torch.no_grad():
        expected = rounded(model, precision).logits(codes, None)[:, -1]
        plain = model.logits(codes, None)[:, -1]
    scale = expected.abs().max()
    assert (engine.steps.logits - expected).abs().max() / scale < 2e-5
    assert precision == "float32" or (engine.steps.logits - plain).abs().max() / scale > 1e-4


@needs_compiler
@pytest.mark.parametrize("mixer", ["attention", "mamba"])
@pytest.mark.parametrize("precision", WEIGHT_PRECISIONS)
def test_fused_samples_follow_the_distribution(mixer, precision):
    model = build(mixer, ALPHABET, width=32, scale=20.0)
    codes = sample(FusedEngine(model, precision), torch.ones(4_000, dtype=torch.int64), list(range(4_000)))
    assert chi_square(codes, exact(rounded(model, precision), 1)) < 5


@needs_compiler
def test_several_codebooks_in_the_fused_engine():
    alphabet = Alphabet((5, 19), tuple(Delayed().codebook(Grid(3, 3, codebooks=2)).tolist()), classes=2)
    model = build(alphabet=alphabet)
    labels, seeds, options = torch.tensor([0, 1, 1]), [0, 1, 2], Sampling(guidance=2.0, top_p=0.9)
    expected = sample(EagerEngine(model), labels, seeds, options)
    assert torch.equal(sample(FusedEngine(model), labels, seeds, options), expected)


@pytest.mark.parametrize("mixer", CAUSAL)
def test_packed_samples_equal_eager_ones(mixer):
    """Every mixer, behind known codes and without, in batches of one and of five."""
    torch.manual_seed(0)
    model = Autoregressive(PriorConfig(mixer=mixer, width=64, depth=2), LONG).eval()
    with torch.no_grad():
        model.head.weight.mul_(40)
    engine = PackedEngine(model)
    known = torch.full((5, 40), -1)
    known[:, :6] = torch.arange(6)
    for rows, labels in ((known, torch.arange(4).repeat(2)[:5]), (known[:1], torch.tensor([2]))):
        seeds = list(range(len(rows)))
        expected = sample(EagerEngine(model), labels, seeds, known=rows)
        assert (sample(engine, labels, seeds, known=rows) == expected).float().mean() > 0.9
    assert all(a is b for a, b in zip(model.parameters(), engine.eager.prior.parameters(), strict=True))


@pytest.mark.parametrize("name", PRIOR_CASES)
def test_packed_samples_of_every_kind(name):
    prior, labels, seeds = built(name).float(), torch.ones(30, dtype=torch.int64), list(range(30))
    expected = sample(EagerEngine(prior), labels, seeds)
    assert (sample(PackedEngine(prior), labels, seeds) == expected).float().mean() > 0.97


def test_packed_precision_follows_the_rounded_prior():
    model = build()
    expected = sample(EagerEngine(rounded(model, "int8")), None, [0, 1])
    assert torch.equal(sample(PackedEngine(model, "int8"), None, [0, 1]), expected)


def test_rounding():
    weight = torch.randn(7, 33)
    assert (rounded_weight(weight, "bfloat16") / weight - 1).abs().max() <= 2**-8
    steps = weight.abs().amax(1, keepdim=True) / 127
    assert ((rounded_weight(weight, "int8") - weight).abs() <= steps * 0.5001).all()
    for precision in WEIGHT_PRECISIONS:  # rounding what is rounded changes nothing
        once = rounded_weight(weight, precision)
        torch.testing.assert_close(rounded_weight(once, precision), once)
    with pytest.raises(UserError, match="bfloat16"):
        rounded(build(), "bfloat")


def test_the_best_engine_says_why_it_is_not_the_fused_one(monkeypatch):
    engine, why = best_engine(build().double())
    assert isinstance(engine, EagerEngine) and "float64" in why
    other = Autoregressive(PriorConfig(mixer=["attention", "rwkv7"], width=64, depth=2), LONG).eval()
    engine, why = best_engine(other)
    assert isinstance(engine, PackedEngine) and "RWKV7" in why
    native_step.library.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    engine, why = best_engine(build())
    native_step.library.cache_clear()
    assert isinstance(engine, PackedEngine) and "no-such-compiler" in why


@pytest.mark.parametrize("name", PRIOR_CASES)
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_serves_a_prior_or_says_why_not(engine, name):
    prior, kind = built(name).float(), ENGINES[engine]
    refusal = kind.refusal(prior)
    if refusal is not None:
        with pytest.raises(Unavailable) as reason:
            kind(prior, "float32")
        assert str(reason.value) == refusal
        return
    labels, seeds = torch.arange(3), [5, 6, 7]
    drawn = sample(kind(prior, "float32"), labels, seeds, Sampling(guidance=1.5))
    alone = sample(EagerEngine(prior), labels, seeds, Sampling(guidance=1.5))
    assert (drawn == alone).float().mean() > 0.9  # equal up to rounding at the edge of a code


def test_the_last_engine_serves_every_prior():
    assert list(ENGINES.values())[-1] is EagerEngine
    assert all(EagerEngine.refusal(built(name)) is None for name in PRIOR_CASES)


def test_a_compiler_that_fails(monkeypatch, tmp_path):
    bad = tmp_path / "bad.cpp"
    bad.write_text("this is not C++")
    monkeypatch.setattr(native_step, "SOURCE", bad)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native_step.library.cache_clear()
    why = best_engine(build())[1]
    native_step.library.cache_clear()
    assert "failed" in why or "no C++ compiler" in why
    assert not list(tmp_path.glob("caselli/*"))


def test_engines_tell_what_a_step_reads():
    model = build()
    engine = EagerEngine(model)
    sample(engine, None, [0, 1])
    weights = sum(p.nbytes for part in (model.blocks, model.head) for p in part.parameters())
    assert engine.bytes_per_step() > weights
