"""Heads of bits: memory, the oracle by plain loops, the coder, engines, refusals, codes of 64 bits."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from bench import bits as bench_bits

from caselli.cli import main
from caselli.codec.coder import Decoders, Encoders
from caselli.codec.sequences import Sequences
from caselli.errors import UserError
from caselli.evaluate import copies
from caselli.model import build_prior, load
from caselli.prior import HEADS, Alphabet, PriorConfig, build
from caselli.quantizer import BSQ, FSQ, LFQ, Grouped
from caselli.sampling import Sampling, sample
from caselli.sampling.graph import GraphEngine
from caselli.slim import Distilled, Distilling
from caselli.tokenizer import Tokenizer, TokenizerConfig
from tests.pictures import TINY, bars_and_stripes, options
from tests.test_sampling_graph import Traced

BITS = [name for name in HEADS if name != "softmax"]
every_head = pytest.mark.parametrize("head", BITS)


def prior(head, levels=(2,) * 32, books=1, **options):
    torch.manual_seed(0)
    alphabet = Alphabet((math.prod(levels),) * books, tuple(range(books)) * 3, classes=2, levels=levels)
    made = build(PriorConfig(width=32, depth=1, head=head, head_options=options), alphabet).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


@every_head
def test_memory_grows_with_the_bits_and_not_with_the_codes(head):
    model = prior(head)
    assert sum(t.numel() for t in (*model.parameters(), *model.buffers())) < 60_000


def test_groups_of_bits_by_plain_loops():
    """p of a code as the product over its groups, each by the whole history of earlier bits."""
    model = prior("bits", (2, 3, 2), group_bits=3).double()
    head, codes = model.code_head, torch.arange(12)
    y = torch.randn(1, model.config.width, dtype=torch.float64)
    found = head.log_prob(y.expand(12, -1), codes, 0)
    for code in range(12):
        levels, rest = [], code
        for level in (2, 3, 2):
            size = 12 // math.prod([2, 3, 2][: len(levels) + 1])
            levels.append(rest // size)
            rest %= size
            assert levels[-1] < level
        nats, done = 0.0, 0
        for group, context, values in zip(head.groups, head.context, head.values, strict=True):
            before = [1.0] + [2 * d / (n - 1) - 1 for d, n in zip(levels[:done], (2, 3, 2), strict=False)]
            hidden = y[0] + context.weight @ torch.tensor(before, dtype=torch.float64)
            logits = values.weight @ head.norm(torch.nn.functional.gelu(hidden, approximate="tanh"))
            value = 0
            for number, level in enumerate(group.levels):
                value = value * level + levels[done + number]
            nats += logits.log_softmax(0)[value]
            done += len(group.levels)
        torch.testing.assert_close(found[code], nats)
    assert found.exp().sum().item() == pytest.approx(1)


@every_head
def test_probabilities_of_all_codes_sum_to_one(head):
    model = prior(head, (3, 2, 2))
    sequences = torch.tensor(list(itertools.product(range(12), repeat=3)))
    total = model.log_prob(sequences, None).sum(1).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-4)


@every_head
def test_the_coder_needs_the_bits_of_the_prior(head):
    model = prior(head, books=2)
    codes = sample(model, None, [1, 2, 3, 4])
    encoders, streams = Encoders(4), torch.arange(4)
    bits = Sequences(model).encode(codes, encoders, streams)
    own = -model.log_prob(codes, None).sum(1) / math.log(2)
    torch.testing.assert_close(bits.float(), own.detach().float(), rtol=0.01, atol=0)
    assert torch.equal(Sequences(model).decode(Decoders(encoders.bytes()), streams), codes)


@every_head
def test_recorded_drawings_are_those_step_by_step(head):
    model = prior(head)
    engine = GraphEngine(model, recorder=Traced())
    for chosen in (Sampling(), Sampling(guidance=2.0, top_p=0.9, temperature=0.8)):
        for seed in range(3):
            labels = torch.tensor([0, 1])
            drawn = sample(engine, labels, [seed, 9], chosen)
            assert torch.equal(drawn, sample(model, labels, [seed, 9], chosen))
    assert engine.name == "recorded steps"


def test_temperature_zero_takes_the_likeliest_of_each_part():
    model = prior("independent_bits")
    likeliest = sample(model, None, [0], Sampling(temperature=0.0))
    assert torch.equal(likeliest, sample(model, None, [1], Sampling(temperature=0.0)))
    first = model.log_prob(likeliest, None)[0, 0]
    assert all(model.log_prob(likeliest ^ (1 << bit), None)[0, 0] < first for bit in range(32))


@every_head
def test_what_cannot_be_meant_is_refused(head):
    with pytest.raises(UserError, match="top-k was given to a prior with the head"):
        sample(prior(head), None, [0], Sampling(top_k=3))
    with pytest.raises(UserError, match="codes of the quantizer lfq, bsq or fsq were expected"):
        build(PriorConfig(head=head), Alphabet((16,), (0,) * 4))
    with pytest.raises(UserError, match="option of head"):
        prior(head, nonsense=1)


@every_head
def test_a_student_learns_all_parts_of_its_teacher(head):
    teacher, codes = prior(head, (3, 2, 2)), torch.arange(12).view(4, 3)
    same = Distilled(prior(head, (3, 2, 2)), teacher, Distilling(data=0.0))
    assert same.training_loss(codes, None, codes, 1.0).item() == pytest.approx(0, abs=1e-5)
    assert same.code_head.parts == teacher.code_head.parts
    with pytest.raises(UserError, match="heads of one kind and of equal parts"):
        Distilled(prior("softmax", (3, 2, 2)), teacher, Distilling())


def test_self_correction_draws_bits_anew():
    model = prior("independent_bits", flips=0.5)
    codes = torch.zeros(400, 3, dtype=torch.int64)
    seen = model.code_head.digits.split(model.code_head.noisy(codes))
    assert 0.05 < seen.double().mean().item() < 0.2 and seen.sum((1, 2)).double().std() > 3
    assert torch.equal(prior("bits").code_head.noisy(codes), codes)


def test_digits_of_the_quantizers():
    assert BSQ(8, codebook_size=16).digits == (2,) * 4
    assert FSQ(3, levels=(8, 6, 5)).digits == (5, 6, 8)
    assert Grouped(8, quantizer="lfq", options={"codebook_size": 16}).digits == (2,) * 4


def test_more_bits_than_an_integer_holds_are_several_codebooks():
    quantizer = LFQ(64, codebook_size=2**64)
    latents = torch.randn(2, 64, 3, 3)
    codes = quantizer.encode(latents)
    assert quantizer.sizes == (2**32, 2**32) and codes.shape == (2, 2, 3, 3)
    torch.testing.assert_close(quantizer.decode(codes), latents.sign())
    assert torch.equal(quantizer(latents).codes, codes)
    with pytest.raises(UserError, match="2\\*\\*64 or 2\\*\\*128"):
        LFQ(64, codebook_size=2**63)


def test_a_run_of_64_bits_from_the_command_line(tmp_path, capsys):
    source, run = bars_and_stripes(tmp_path / "pictures", count=16), tmp_path / "run"
    changes = TINY | {
        "prior.head": "bits",
        "tokenizer.quantizer": "lfq",
        "tokenizer.quantizer_options.codebook_size": 2**64,
    }
    command = ["train", str(source), "-o", str(run), "--recipe", "tiny", "--steps", "2"]
    assert main([*command, *options(changes)]) == 0, capsys.readouterr().err
    assert load(run).prior.alphabet.sizes == (2**32, 2**32)
    assert main(["sample", str(run), "-o", str(tmp_path / "s"), "-n", "2", "--top-p", "0.9"]) == 0
    capsys.readouterr()
    assert main(["inspect", str(run)]) == 0
    assert "pinned down after 1 of 32 codes" in capsys.readouterr().out
    assert main(["sample", str(run), "-o", str(tmp_path / "t"), "-n", "2", "--top-k", "5"]) == 2
    assert "temperature or top-p" in capsys.readouterr().err


def test_a_prior_follows_the_growth_of_its_codebook_in_its_own_order():
    tokenizer = Tokenizer(
        TokenizerConfig(
            factor=4,
            width=8,
            quantizer="growing",
            quantizer_options={"codebook_size": 16, "order": "hilbert"},
        )
    )
    made = build_prior(PriorConfig(width=16, depth=1, order="hilbert"), tokenizer, 16, 0)[0]
    limits = made.alphabet.limits
    assert limits == tuple(sorted(limits)) and (limits[0], limits[-1]) == (2, 16)
    assert tokenizer.report((16, 16)).bits == sum(map(math.log2, limits))
    codes = sample(made.eval(), None, list(range(64)))
    assert (codes < torch.tensor(limits)).all() and (codes.amax(0) > 0).all()
    assert made.alphabet.pinned_after(20) == 5


def test_samples_that_copy():
    real = torch.randn(80, 8, generator=torch.Generator().manual_seed(0))
    training, held_out = real[:40], real[40:]
    assert copies(training[:20] + 0.01, training, held_out).many
    fresh = torch.randn(200, 8, generator=torch.Generator().manual_seed(1))
    assert not copies(fresh, training, held_out).many


def test_the_benchmark_at_a_tiny_size(monkeypatch, capsys):
    for name, value in {"WIDTH": 32, "DEPTH": 1, "LENGTH": 2, "BATCH": 2}.items():
        monkeypatch.setattr(bench_bits, name, value)
    monkeypatch.setattr(bench_bits, "in_a_process", lambda function, *given: function(*given))
    bench_bits.compare([("softmax", 4), ("bits", 64)], repeats=1)
    assert "bits, K = 2^64" in capsys.readouterr().out


@every_head
def test_the_batch_does_not_change_the_bytes(head):
    model, streams = prior(head), torch.zeros(5, dtype=torch.int64)
    codes, made = sample(model, None, [1, 2, 3, 4, 5]), []
    for batch in (2, 256):
        encoders = Encoders(1)
        Sequences(model, batch).encode(codes, encoders, streams)
        made.append(encoders.bytes())
    assert made[0] == made[1]
    assert torch.equal(Sequences(model, 3).decode(Decoders(made[0]), streams), codes)
