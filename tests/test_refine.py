"""The third stage: a decoder trained further on what the prior draws; and the recipe that has it."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from caselli.cli import main
from caselli.data import Pictures, mirrors_are_likely
from caselli.engine import rate_of
from caselli.engine.machine import CPU
from caselli.features import MomentDistance
from caselli.model import load, load_tokenizer, load_unrefined
from caselli.run import TwoStage, train
from caselli.run.auto import (
    AUTO_SHARES,
    LADDER,
    MOST_REPEATS,
    STAGES,
    Budget,
    shape,
    shared_out,
    weights,
)
from caselli.run.folder import RunFolder
from caselli.run.two_stage import DecoderStage
from caselli.run.two_stage_recipes import SHARES
from caselli.studio.context import Loaded
from tests.pictures import TINY, bars_and_stripes, equal_weights

REFINED = {
    "refinement.drawn": 8,
    "training.decoder.batch": 8,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refine")
    changes = TINY | REFINED
    return train(
        bars_and_stripes(folder / "pictures"), folder / "run", recipe="tiny", steps=4, changes=changes
    )


def test_refining_changes_the_decoder_alone(run, tmp_path, capsys):
    refined = shutil.copytree(run, tmp_path / "run")
    assert main(["refine", str(refined), "--steps", "3"]) == 0
    assert equal_weights(run, refined)
    before, after = load(run), load(refined)
    x = torch.rand(2, 1, 16, 16)
    assert torch.equal(before.encode(x), after.encode(x))
    assert not torch.equal(before.reconstruct(x), after.reconstruct(x))
    unrefined = load_unrefined(refined)
    assert torch.equal(before.reconstruct(x), unrefined.reconstruct(x))
    capsys.readouterr()
    assert main(["refine", str(refined)]) == 0  # done already
    assert load_file(refined / "decoder.safetensors").keys() == before.tokenizer.decoder.state_dict().keys()


def test_a_stale_decoder_is_not_taken(run, tmp_path):
    refined = shutil.copytree(run, tmp_path / "run")
    assert main(["refine", str(refined), "--steps", "2"]) == 0
    text = (refined / "decoder.json").read_text()
    stamped = load_tokenizer(refined)[0].fingerprint()
    (refined / "decoder.json").write_text(text.replace(stamped, "0" * 16))
    x = torch.rand(1, 1, 16, 16)
    assert torch.equal(load(refined).reconstruct(x), load(run).reconstruct(x))


def test_a_tokenizer_that_goes_on_takes_its_decoder_and_guide_along(tmp_path, monkeypatch):
    """Their checkpoints hold the tokenizer, or codes of it, from before."""
    monkeypatch.setattr("caselli.run.prior_stage.EARLIEST", 1)
    changes = TINY | REFINED | {"training.early_guide": 0.5}
    pictures, steps = bars_and_stripes(tmp_path / "pictures"), {"training.decoder.steps": 2}
    monkeypatch.setitem(SHARES, "tiny", (0.3, 0.5, 0.2))
    run = train(pictures, tmp_path / "run", recipe="tiny", steps=2, changes=changes | steps)
    young = load(run).guide
    longer = {f"training.{stage}.steps": 4 for stage in STAGES}
    train(pictures, run, resume=True, changes=longer)
    model, last = load(run), torch.load(run / "checkpoints/decoder/last.pt", weights_only=True)["task"]
    own = {f"tokenizer.{name}": value for name, value in load_tokenizer(run)[0].state_dict().items()}
    same = [name for name in own if "decoder" not in name and name in last]
    assert same and all(torch.equal(last[name], own[name]) for name in same)
    assert model.guide is not None and (run / "decoder.json").exists()
    pairs = zip(model.guide.state_dict().values(), young.state_dict().values(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


def test_real_pictures_are_measured_in_parts_of_one_size():
    stage = DecoderStage(SimpleNamespace(machine=CPU))
    pictures = Pictures.of("grey", torch.zeros(514, 1, 4, 4, dtype=torch.uint8))
    assert [len(part) for part in stage._real(pictures)] == [172, 171, 171]


def test_codes_made_before_a_refinement_are_codes_of_the_run(run, tmp_path, capsys):
    """What was encoded, compressed or drawn before stays of use; the pixels of the kind exact do not."""
    refined, source = shutil.copytree(run, tmp_path / "run"), run.parent / "pictures"
    picture = sorted(source.rglob("*.png"))[0]

    def call(line, code=0):
        words = {"RUN": refined, "SET": source, "PICTURE": picture, "HERE": tmp_path}
        for name, value in words.items():
            line = line.replace(name, str(value))
        assert main(line.split()) == code, line
        return capsys.readouterr().err

    call("encode RUN SET -o HERE/codes.safetensors")
    call("compress RUN PICTURE -o HERE/packed")
    call("residual RUN SET --steps 1")
    call("compress RUN PICTURE --kind exact -o HERE/exact")
    call("refine RUN --steps 2")
    call("decode RUN HERE/codes.safetensors -o HERE/decoded")
    call("decompress RUN HERE/packed -o HERE/back")
    call("compress RUN PICTURE -o HERE/again")
    assert (tmp_path / "again" / f"{picture.stem}.csl").read_bytes() == (
        tmp_path / "packed" / f"{picture.stem}.csl"
    ).read_bytes()
    assert "learnt with another tokenizer" in call("decompress RUN HERE/exact -o HERE/pixels", 2)
    assert len(Loaded(refined).codes("train")) > 0
    model = load(refined)
    model.save_pretrained(tmp_path / "copy")
    copied, x = load(tmp_path / "copy"), torch.rand(2, 1, 16, 16)
    model.expect_same_codes(copied)
    load(run).expect_same_codes(copied)
    assert torch.equal(copied.reconstruct(x), model.reconstruct(x))
    assert copied.tokenizer.fingerprint() == model.tokenizer.fingerprint() != model.tokenizer.digest()


def test_a_run_without_a_prior_cannot_be_refined(run, tmp_path, capsys):
    half = shutil.copytree(run, tmp_path / "run")
    (half / "prior.json").unlink()
    assert main(["refine", str(half), "--steps", "2"]) == 2
    assert "prior" in capsys.readouterr().err


@pytest.mark.parametrize("seen", [1.0, 400.0])
def test_auto_has_three_stages_and_says_what_it_chose(seen, tmp_path, capsys, monkeypatch):
    """Also when it shares the minutes that were asked for out otherwise, as the prior has few pictures."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("caselli.run.auto.repeats", lambda *given: seen)
    pictures = bars_and_stripes(tmp_path / "pictures")
    sizes = {name: value for name, value in (TINY | REFINED).items() if not name.startswith("prior.")}
    out = train(pictures, tmp_path / "run", recipe="auto", minutes=0.02, changes=sizes)
    said = "".join(capsys.readouterr())
    assert said.count("auto: ") >= 3
    assert ("tokenizer gets" in said) == (seen > MOST_REPEATS)
    assert (out / "decoder.safetensors").exists()
    config = yaml.safe_load((out / "run.yaml").read_text())["config"]
    minutes = [config["training"][stage]["minutes"] for stage in STAGES]
    assert minutes == pytest.approx(shared_out(Budget(0.02, 2e11), seen))
    train(pictures, out, minutes=0.02, resume=True)  # has had them: nothing is asked for that is new
    named = {f"training.{stage}.minutes": part for stage, part in zip(STAGES, minutes, strict=True)}
    usual = {name: 0.06 * part for name, part in zip(named, AUTO_SHARES, strict=True)}
    again = TwoStage.shared_again(TwoStage.probe(RunFolder(out)).config, usual)
    assert again == pytest.approx({name: 3 * part for name, part in named.items()})
    assert (config["prior"]["width"], config["prior"]["depth"]) == LADDER[0]
    assert (tmp_path / "cache" / "caselli" / "rates.json").exists()


def test_the_law_grows_with_the_budget():
    counts = [weights(Budget(minutes, 2e11)) for minutes in (1, 10, 100)]
    assert counts[1] / counts[0] == pytest.approx(10**0.5)
    assert shape(counts[0]) < shape(counts[1]) < shape(counts[2])


def test_a_small_set_gives_the_priors_minutes_to_the_tokenizer():
    few, many = (shared_out(Budget(20, 2e11), seen) for seen in (200.0, 20.0))
    assert many == pytest.approx([20 * share for share in AUTO_SHARES])
    assert few[1] == pytest.approx(many[1] * MOST_REPEATS / 200) and sum(few) == pytest.approx(20)


def test_a_rate_is_measured_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = rate_of(CPU)
    monkeypatch.setattr("caselli.engine.rate.measured", lambda machine: 1.0)
    assert rate_of(CPU) == first > 1e8


@pytest.mark.parametrize("given", ["", "[]", '{"a": "b"}'])
def test_a_damaged_file_of_rates_is_made_anew(given, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "caselli").mkdir()
    (tmp_path / "caselli" / "rates.json").write_text(given)
    assert rate_of(CPU) > 1e8


@pytest.mark.parametrize("turned", [False, True])
def test_mirrors_are_likely_where_the_pictures_are_mirrored(turned):
    """Wedges that grow to the right, half of them turned round or none."""
    random = torch.Generator().manual_seed(0)
    wedge = torch.linspace(0, 255, 16).expand(200, 1, 16, 16)
    pixels = (wedge * torch.rand(200, 1, 1, 1, generator=random)).byte()
    pixels[::2] = pixels[::2].flip(3) if turned else pixels[::2]
    assert mirrors_are_likely(Pictures.of("wedges", pixels)) == turned


@pytest.mark.parametrize("plain", [True, False])
def test_a_grid_of_single_pixels_is_never_rewarded_where_pictures_are_plain(plain):
    """A network takes it for contrast that soft pictures lack."""
    generator = torch.Generator().manual_seed(0)
    side = 8 if plain else 1  # of squares in one colour
    colours = torch.rand(64, 3, 16 // side, 16 // side, generator=generator)
    sharp = colours.repeat_interleave(side, 2).repeat_interleave(side, 3)
    soft = functional.avg_pool2d(sharp, 3, 1, 1)
    grid = 0.05 * (-1.0) ** (torch.arange(16)[:, None] + torch.arange(16))
    distance = MomentDistance(nn.Identity(), lambda x: [x, x[..., 1:] - x[..., :-1]])
    distance.measure([sharp])
    assert distance.softens == plain and distance(sharp) < 1e-9
    assert fresh(distance)(soft) > 1e-3
    if plain:
        assert fresh(distance)(soft + grid).item() == pytest.approx(fresh(distance)(soft).item(), rel=1e-3)


def fresh(distance):
    """The distance without memory of earlier batches."""
    distance.recent = distance.real.clone()
    return distance
