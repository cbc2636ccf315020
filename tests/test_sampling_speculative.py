"""Speculative drawing: exactly the large prior's distribution, whatever the draft and the batch."""

from __future__ import annotations

import pytest
import torch

from caselli.cli import main
from caselli.errors import UserError
from caselli.prior import Alphabet, PriorConfig, build
from caselli.run import train
from caselli.sampling import EagerEngine, FusedEngine, Sampling, SpeculativeEngine, rounded, sample
from tests.conformance.cases_prior import CASES, alphabet_of, built
from tests.conformance.test_prior import excess, probabilities_of, sequences_of
from tests.pictures import TINY, bars_and_stripes


def draft_of(name, mixer="attention", seed=1):
    """A smaller prior over the same slots, with another distribution."""
    _, grid, sizes = CASES[name]
    torch.manual_seed(seed)
    order = CASES[name][0].get("order", "raster")
    config = PriorConfig(width=16, depth=1, mixer=mixer, order=order)
    prior = build(config, alphabet_of(grid, sizes, order)).double().eval()
    with torch.no_grad():
        prior.head.weight.mul_(40)
    return prior


def pair(name, mixer="attention", **options):
    return SpeculativeEngine(built(name), draft_of(name, mixer), **options)


@pytest.mark.parametrize(
    ("name", "mixer"),
    [
        ("autoregressive", "attention"),
        ("autoregressive, hybrid", "linear"),
        ("autoregressive, delayed", "attention"),
        ("random_order", "attention"),
    ],
)
def test_sequences_follow_the_large_prior(name, mixer):
    engine, seeds = pair(name, mixer), list(range(1_200))
    codes = sample(engine, torch.ones(1_200, dtype=torch.int64), seeds)
    assert excess(built(name), codes, probabilities_of(built(name), 1)) < 5
    assert 0 < engine.accepted < engine.proposed, "some proposals are kept, others drawn again"


def test_options_make_the_distribution_of_both():
    """Guidance and truncation, by enumeration of the large prior's own drawing."""
    prior, options = built("autoregressive"), Sampling(guidance=2.0, temperature=1.4, top_k=2)
    labels, seeds = torch.zeros(3_000, dtype=torch.int64), list(range(3_000))
    drawn = sample(SpeculativeEngine(prior, draft_of("autoregressive")), labels, seeds, options)
    told, null = (prior.logits(sequences_of(prior), torch.full((81,), label)) for label in (0, 2))
    logits = (null + 2.0 * (told - null)) / 1.4
    logits = logits.masked_fill(logits < logits.topk(2).values[..., -1:], -torch.inf)
    p = logits.log_softmax(-1).gather(2, sequences_of(prior)[..., None]).sum((1, 2)).exp().detach()
    assert excess(prior, drawn, p) < 5


@pytest.mark.parametrize("mixer", ["attention", "linear"])
def test_a_sequence_depends_on_its_seed_alone(mixer):
    """Neither on the batch, nor on how many codes are proposed together."""
    engine = pair("autoregressive", mixer)
    together = sample(engine, None, list(range(12)))
    for proposals in (1, 3):
        other = pair("autoregressive", mixer, proposals=proposals)
        alone = torch.cat([sample(other, None, [seed]) for seed in range(12)])
        assert torch.equal(alone, together)


def test_known_codes_are_kept_and_conditioned_on():
    engine, known = pair("autoregressive"), torch.full((1_000, 4), -1)
    known[:, 0], known[::2, 2] = 1, 0
    codes = sample(engine, torch.ones(1_000, dtype=torch.int64), list(range(1_000)), known=known)
    assert (codes[:, 0] == 1).all() and (codes[::2, 2] == 0).all()
    sequences = sequences_of(built("autoregressive"))
    p = probabilities_of(built("autoregressive"), 1) * (sequences[:, 0] == 1)
    assert excess(built("autoregressive"), codes[1::2], p / p.sum()) < 5


def test_a_draft_that_is_the_prior_is_never_refused():
    engine = SpeculativeEngine(built("autoregressive"), built("autoregressive"))
    sample(engine, None, list(range(50)))
    assert engine.accepted == engine.proposed and "100%" in engine.name


reason = FusedEngine.refusal(built("autoregressive").float())
needs_compiler = pytest.mark.skipif(bool(reason), reason=reason or "compiled")
SHAPES = [Sampling(), Sampling(guidance=2.0, top_k=2, top_p=0.9), Sampling(temperature=0.0)]


@needs_compiler
@pytest.mark.parametrize("proposals", [1, 3, 4])
def test_compiled_pairs_draw_the_same(proposals):
    """As step by step in PyTorch with the draft in int8, from any known codes."""
    prior, draft = (p.float() for p in (built("autoregressive"), draft_of("autoregressive")))
    labels, seeds = torch.ones(40, dtype=torch.int64), list(range(40))
    scattered = torch.where(torch.rand(40, 4, generator=torch.Generator().manual_seed(0)) < 0.3, 1, -1)
    in_front = torch.tensor([1, 0, -1, -1]).expand(40, 4).clone()
    engine = SpeculativeEngine(prior, draft, proposals=proposals)
    other = SpeculativeEngine(prior, rounded(draft, "int8"), proposals=proposals)
    other.fused = None
    for options in SHAPES:
        for known in (None, scattered, in_front):
            same = sample(engine, labels, seeds, options, known=known)
            told: list[int] = []
            assert torch.equal(sample(other, labels, seeds, options, told.append, known), same)
    assert "fused step, float32 weights" in engine.name and engine.bytes_per_step() > 0
    assert engine.accepted == other.accepted - (other.proposed - engine.proposed), (
        "known ones are not counted"
    )


@needs_compiler
def test_compiled_pairs_follow_the_large_prior():
    prior, seeds = built("autoregressive").float(), list(range(1_200))
    engine = SpeculativeEngine(prior, draft_of("autoregressive").float())
    codes = sample(engine, torch.ones(1_200, dtype=torch.int64), seeds)
    assert excess(prior, codes, probabilities_of(built("autoregressive"), 1)) < 5
    assert 0 < engine.accepted < engine.proposed


def test_packed_weights_draw_the_same():
    prior, draft = built("autoregressive").float(), draft_of("autoregressive").float()
    engine = SpeculativeEngine(prior, draft)
    engine.fused = None
    same = sample(engine, None, list(range(40)))
    engine.pair, engine.rows = (engine.prior, engine.draft), 40
    assert (sample(engine, None, list(range(40))) == same).float().mean() > 0.97
    assert engine.bytes_per_step() > 0


def test_mistakes():
    with pytest.raises(UserError, match="leave out --draft"):
        SpeculativeEngine(built("masked"), draft_of("autoregressive"))
    with pytest.raises(UserError, match="other codebook sizes"):
        SpeculativeEngine(built("autoregressive"), draft_of("autoregressive, delayed"))
    with pytest.raises(UserError, match="proposals"):
        pair("autoregressive", proposals=0)


def test_from_the_command_line(tmp_path, capsys):
    """A run drafts for itself; one with another tokenizer is refused."""
    pictures = bars_and_stripes(tmp_path / "pictures", count=24)
    run, other = (
        train(
            pictures, tmp_path / name, recipe="tiny", steps=2, changes=TINY | {"seed": seed}, progress=False
        )
        for seed, name in enumerate(("run", "other"))
    )
    words = ["sample", str(run), "-n", "2", "-o", str(tmp_path / "out.png"), "--draft"]
    assert main([*words, str(run)]) == 0 and "of the proposals kept" in capsys.readouterr().err
    assert main([*words, str(other), "--overwrite"]) == 2
    assert "the same tokenizer was expected" in capsys.readouterr().err


def test_it_is_the_eager_engine_where_the_draft_is_the_prior():
    """Equal priors refuse nothing, so the codes are those of the noise alone."""
    prior = built("autoregressive, delayed")
    engine = SpeculativeEngine(prior, built("autoregressive, delayed"))
    assert torch.equal(
        sample(engine, None, list(range(30))), sample(EagerEngine(prior), None, list(range(30)))
    )


@needs_compiler
@pytest.mark.parametrize("first", [1, 3, 7, 20])
def test_compiled_pairs_of_windows_go_on_behind_known_codes(first):
    """A window keeps few keys: those that the first step behind known codes looks at are there."""
    torch.manual_seed(0)
    alphabet, made = Alphabet((8,), (0,) * 24), []
    for width in (32, 16):
        options = {"window": 4, "heads": 2}
        prior = build(
            PriorConfig(width=width, depth=2, mixer="local", mixer_options=options), alphabet
        ).eval()
        with torch.no_grad():
            prior.head.weight.mul_(40)
        made.append(prior)
    known = torch.where(torch.arange(24) < first, torch.randint(8, (6, 24)), -1)
    engine = SpeculativeEngine(*made)
    other = SpeculativeEngine(made[0], rounded(made[1], "int8"))
    other.fused = None
    drawn = [sample(each, None, list(range(6)), Sampling(), known=known) for each in (engine, other)]
    assert "fused" in engine.name and torch.equal(*drawn)
