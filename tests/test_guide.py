"""Drawing codes with a weaker prior that the run's own is led away from."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest
import torch

from caselli.cli import main
from caselli.data import Pictures
from caselli.errors import UserError
from caselli.model import load
from caselli.plain import override
from caselli.prior import Alphabet, Conditions, PriorConfig, build
from caselli.run import train
from caselli.run.pictures import Data
from caselli.run.two_stage import TwoStage
from caselli.run.two_stage_config import StagesConfig
from caselli.sampling import EagerEngine, FusedEngine, GuidedEngine, Sampling, sample
from caselli.sampling.choice import inverse_transform, uniform_noise
from tests.pictures import TINY, bars_and_stripes, equal_weights


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guide")
    return train(bars_and_stripes(folder / "pictures"), folder / "run", recipe="tiny", steps=4, changes=TINY)


@pytest.fixture(scope="module")
def guided(plain, tmp_path_factory):
    run = shutil.copytree(plain, tmp_path_factory.mktemp("guided") / "run")
    assert main(["guide", str(run), "--steps", "2"]) == 0
    return run


@pytest.fixture(scope="module")
def early(plain, tmp_path_factory):
    """A run as `plain`, but for a prior that is its own guide."""
    folder = tmp_path_factory.mktemp("early")
    pictures = bars_and_stripes(folder / "pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("caselli.run.prior_stage.EARLIEST", 2)
        return train(
            pictures, folder / "run", recipe="tiny", steps=4, changes=TINY | {"training.early_guide": 0.5}
        )


def slowly(model, labels, seeds, strength):
    """The definition: both priors over the whole sequence for each code."""
    length = model.prior.alphabet.length
    codes, noise = torch.zeros(len(seeds), length, dtype=torch.int64), uniform_noise(seeds, length)
    told = Conditions.of(labels)
    for slot in range(length):
        with torch.no_grad():
            p = model.prior.logits(codes, told)[:, slot].log_softmax(-1)
            w = model.guide.logits(codes, told.null())[:, slot].log_softmax(-1)
        codes[:, slot] = inverse_transform((w + strength * (p - w)).softmax(-1), noise[:, slot])
    return codes


def test_the_engine_draws_what_the_definition_draws(guided):
    model, labels = load(guided), torch.tensor([0, 1, 0])
    engine = model.engine()[0]
    assert isinstance(engine, GuidedEngine)
    drawn = sample(engine, labels, [3, 4, 5], Sampling(guidance=3.0))
    assert torch.equal(drawn, slowly(model, labels, [3, 4, 5], 3.0))
    alone = sample(engine, labels[1:2], [4], Sampling(guidance=3.0))
    assert torch.equal(drawn[1:2], alone)


def test_guidance_is_the_guides_own_and_needs_no_condition(guided):
    model = load(guided)
    engine, told, own = model.engine()[0], torch.tensor([0, 1]), model.guide.config.guidance
    asked = sample(engine, told, [0, 1], Sampling(guidance=own))
    assert torch.equal(sample(engine, told, [0, 1]), asked)
    assert torch.equal(sample(engine, None, [7]), slowly(model, None, [7], own))
    plain = sample(EagerEngine(model.prior), told, [0, 1], Sampling(guidance=1.0))
    assert torch.equal(sample(engine, told, [0, 1], Sampling(guidance=1.0)), plain)


def test_known_codes_stay(guided):
    model = load(guided)
    known = torch.full((2, model.prior.alphabet.length), -1)
    known[:, :2], known[0, -1] = 1, 3
    drawn = sample(model.engine()[0], torch.tensor([0, 1]), [0, 1], Sampling(guidance=2.0), known=known)
    assert torch.equal(drawn[known >= 0], known[known >= 0])


@pytest.mark.parametrize("asked", [{}, {"guidance": 3.0, "top_p": 0.9}, {"temperature": 0.7}])
def test_compiled_code_draws_what_pytorch_draws(guided, asked):
    """In full, behind known codes, and one batch after another."""
    model, told = load(guided), torch.tensor([0, 1, 0])
    engine = GuidedEngine(FusedEngine(model.prior), model.guide)
    twin = GuidedEngine(EagerEngine(model.prior), model.guide)
    assert engine.fused is not None and twin.fused is None
    known = torch.full((3, model.prior.alphabet.length), -1)
    known[:, :3], known[1, 3], known[2, -1] = 2, 1, 3
    for codes in (None, known, None):
        options = Sampling(**asked)
        drawn = [sample(each, told, [0, 1, 2], options, known=codes) for each in (engine, twin)]
        assert torch.equal(*drawn)
    assert engine.bytes_per_step() > FusedEngine(model.prior).bytes_per_step()


def test_a_prior_is_its_own_guide_as_it_was_early(plain, early):
    assert equal_weights(plain, early)
    model = load(early)
    assert model.engine()[0].guiding.guidance == 2.0
    assert not torch.equal(model.guide.head.weight, model.prior.head.weight)
    unled = Sampling(guidance=1.0)
    alone = sample(EagerEngine(load(plain).prior), torch.tensor([0, 1]), [0, 1], unled)
    assert torch.equal(sample(model.engine()[0], torch.tensor([0, 1]), [0, 1], unled), alone)
    shown = [(run / "pictures" / "samples.png").read_bytes() for run in (plain, early)]
    assert shown[0] != shown[1], "the report shows what is drawn with the guide"
    state = torch.load(early / "checkpoints" / "prior" / "early.pt", weights_only=True)
    assert state["step"] == 2
    assert torch.equal(state["task"]["prior.head.weight"], model.guide.head.weight)


def test_a_prior_of_few_steps_is_no_guide(tmp_path, capsys):
    pictures = bars_and_stripes(tmp_path / "pictures")
    run = train(
        pictures, tmp_path / "run", recipe="tiny", steps=4, changes=TINY | {"training.early_guide": 0.5}
    )
    assert "of 2 steps" in capsys.readouterr().err
    assert load(run).guide is None and not (run / "early.json").exists()


def test_a_trained_guide_counts_before_an_early_one(early, tmp_path):
    run = shutil.copytree(early, tmp_path / "run")
    assert main(["guide", str(run), "--steps", "1"]) == 0
    assert not torch.equal(load(run).guide.head.weight, load(early).guide.head.weight)


def two_of_bits(head):
    """A prior with a head of several parts of a code, and a weaker one, both untrained and far from even."""
    options = {"bits": {"group_bits": 2}, "masked_bits": {"rounds": 2}, "independent_bits": {}}[head]
    config = PriorConfig(width=16, depth=1, mixer_options={"heads": 2}, head=head, head_options=options)
    alphabet = Alphabet((16,), (0,) * 3, classes=2, levels=(2,) * 4)
    pair = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        pair.append(build(config, alphabet).eval())
        with torch.no_grad():
            for weight in pair[-1].parameters():
                weight.add_(0.5 * torch.randn_like(weight))
    return pair


@pytest.mark.parametrize("head", ["bits", "masked_bits", "independent_bits"])
def test_codes_of_several_parts_are_guided_part_by_part(head):
    prior, guide = two_of_bits(head)
    told, noise = Conditions.of(torch.tensor([0, 1, 1])), uniform_noise([5, 6, 7], 3 * prior.code_head.parts)
    noise = noise.view(3, 3, -1)
    codes = torch.zeros(3, 3, dtype=torch.int64)
    for slot in range(3):
        with torch.no_grad():
            p, w = prior.logits(codes, told)[:, slot], guide.logits(codes, told.null())[:, slot]
        walks, first = (prior.code_head.walk(p, slot), guide.code_head.walk(w, slot)), 0
        (own, _), (other, _) = (next(walk) for walk in walks)
        while first < prior.code_head.parts:
            strong = own.log_softmax(-1) * 1.8 - other.log_softmax(-1) * 0.8
            values = inverse_transform(strong.softmax(-1), noise[:, slot, first : first + own.shape[-2]])
            first += own.shape[-2]
            try:
                own, _ = walks[0].send(values)
                other, _ = walks[1].send(values)
            except StopIteration as end:
                codes[:, slot] = end.value
    engine = GuidedEngine(EagerEngine(prior), guide)
    drawn = sample(engine, told, [5, 6, 7], Sampling(guidance=1.8))
    assert torch.equal(drawn.flatten(1), codes)


def test_a_guide_with_another_head_is_refused():
    (prior, _), (guide, _) = two_of_bits("bits"), two_of_bits("independent_bits")
    with pytest.raises(UserError, match="head 'independent_bits' was given for a prior with 'bits'"):
        GuidedEngine(EagerEngine(prior), guide)


def test_a_kind_that_has_no_guide_is_given_none_and_says_so_where_one_is_asked_for():
    kind = {"prior.kind": "masked"}
    data = Data.of(Pictures.of("none", torch.zeros(4, 1, 16, 16, dtype=torch.uint8)))
    budget = {"rate": 1e11, **kind}
    assert TwoStage.start("auto", data, {"rate": 1e11}).training.early_guide > 0
    config = override(TwoStage.start("auto", data, budget), kind)
    assert config.training.early_guide == 0
    assert TwoStage.start("auto", data, {"rate": 1e11, "prior.head": "bits"}).training.early_guide > 0
    told = {"rate": 1e11, "prior.condition_picture": "visible_part"}
    assert TwoStage.start("auto", data, told).training.early_guide == 0, "nobody has measured it there"
    mamba = TwoStage.start("auto", data, {"rate": 1e11, "prior.mixer": "mamba"})
    assert mamba.training.early_guide > 0 and mamba.prior.mixer_options == {}
    with pytest.raises(UserError, match="given a guide"):
        TwoStage.check(override(config, {"training.early_guide": 0.5}), data)
    with pytest.raises(UserError, match="early_guide"):
        StagesConfig(early_guide=1.0)


def test_all_else_stays_as_it_was(plain, guided, tmp_path):
    assert equal_weights(plain, guided)
    x = torch.rand(2, 1, 16, 16)
    before, after = load(plain), load(guided)
    assert torch.equal(before.score(x).prior_bits, after.score(x).prior_bits)
    after.save_pretrained(tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert torch.equal(again.sample(2, label=[0, 1]), after.sample(2, label=[0, 1]))


def test_a_guide_of_another_tokenizer_is_not_taken(guided, tmp_path):
    run = shutil.copytree(guided, tmp_path / "run")
    text = (run / "guide.json").read_text()
    (run / "guide.json").write_text(text.replace(load(run).tokenizer.fingerprint(), "0" * 16))
    assert load(run).guide is None


def test_all_stages_of_a_run_with_a_guide_go_on(guided, tmp_path):
    """With the options that the report prints: twice the budget of every stage that was trained."""
    run = shutil.copytree(guided, tmp_path / "run")
    command = re.search(r"caselli train [^<]*--resume[^<]*", (run / "report.html").read_text())[0]
    words = shlex.split(command)[1:]
    words[words.index("-o") + 1] = str(run)
    assert "--training.guide.steps" in words and main(words) == 0
    assert torch.load(run / "checkpoints/guide/last.pt", weights_only=True)["step"] == 4


def test_a_draft_knows_nothing_of_a_guide(guided, plain, tmp_path, capsys):
    words = ["sample", str(guided), "-n", "2", "--draft", str(plain), "-o", str(tmp_path / "a.png")]
    assert main(words) == 2
    assert "draws with a guide" in capsys.readouterr().err
    assert main([*words, "--guidance", "1"]) == 0, capsys.readouterr().err


def test_what_cannot_be_guided_is_said(plain, tmp_path, capsys):
    half = shutil.copytree(plain, tmp_path / "run")
    (half / "prior.json").unlink()
    assert main(["guide", str(half), "--steps", "2"]) == 2
    assert "no prior" in capsys.readouterr().err
    model = load(plain)
    other = load(plain)
    other.prior.alphabet = other.prior.alphabet.__class__((8,), (0,) * 4)
    with pytest.raises(UserError, match="guide with other"):
        GuidedEngine(EagerEngine(model.prior), other.prior)
