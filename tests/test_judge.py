"""Judging by a network of features: which one, what it refuses, what a run gets to know."""

from __future__ import annotations

import json

import pytest
import torch

from caselli.cli import main
from caselli.errors import MissingExtra, UserError
from caselli.evaluate import JUDGES, installed_judge, judge, refuse_teacher
from caselli.features import TEACHERS, EfficientNetLite0
from caselli.model import load
from caselli.run import judgement
from tests.pictures import TINY, bars_and_stripes, options
from tests.test_features_efficientnet import package_layout


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of EfficientNet-Lite0 with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "lite0.pth"
    torch.save(package_layout(EfficientNetLite0()), path)
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return bars_and_stripes(tmp_path_factory.mktemp("pictures"), 200)


@pytest.fixture(scope="module")
def run(source, weights, tmp_path_factory):
    """A run of two steps that EfficientNet-Lite1 has taught, judged by a Lite0 from a file."""
    run, patch = tmp_path_factory.mktemp("runs") / "run", pytest.MonkeyPatch()
    patch.setattr(judgement, "FEWEST", 4)
    patch.setattr(EfficientNetLite0, "is_installed", classmethod(lambda cls: True))
    patch.setattr(EfficientNetLite0, "installed_file", classmethod(lambda cls: weights))
    taught = {"tokenizer.perceptual": 0.3, "tokenizer.perceptual_network": "efficientnet-lite1"}
    words = ["train", str(source), "-o", str(run), "--recipe", "tiny", "--steps", "2", "--size", "16"]
    assert main([*words, *options(TINY | taught | {"reading.judged": 8})]) == 0
    patch.undo()
    return run


def test_a_run_is_judged_and_the_report_says_by_whom(run):
    results = json.loads((run / "results.json").read_text())
    for kind in ("samples", "reconstructions"):
        found = results[f"{kind}_judged"]
        assert found["features"] == "efficientnet-lite0 at 128 pixels, 1280 features"
        assert found["made_count"] == found["real_count"] == 8
        assert found["frechet"] > 0 and found["frechet_ratio"] > 0 and found["monge"] > 0
    assert 0 <= results["memory"]["nearer_to_training"] <= 1 and results["memory"]["samples"] == 8
    assert results["memory"]["nearer_by_chance"] == 0.5
    page = (run / "report.html").read_text()
    assert "samples nearest to a training picture" in page
    assert "8 pictures of each kind beside 8 real ones" in page and "efficientnet-lite0 at 128" in page


def test_a_run_knows_its_teachers_and_they_may_not_judge(run, source, weights, capsys):
    assert load(run).teachers() == ("efficientnet-lite1",)
    words = ["evaluate", str(run), str(source), "--features"]
    assert main([*words, "efficientnet-lite1", "--weights", str(weights)]) == 2
    said = capsys.readouterr().err
    assert "a run that it trained" in said and "--features efficientnet-lite0 or efficientnet-lite2" in said
    assert main([*words, "efficientnet-lite0", "--weights", str(weights), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["reconstructions_against_originals"]
    assert found["features"].startswith("efficientnet-lite0 at 128 pixels")


def test_the_judge_is_the_first_installed_that_did_not_teach(monkeypatch, weights):
    for kind in TEACHERS.values():
        monkeypatch.setattr(kind, "is_installed", classmethod(lambda cls: cls is not TEACHERS[JUDGES[1]]))
    assert installed_judge() == "efficientnet-lite0"
    assert installed_judge(["efficientnet-lite0"]) == "efficientnet-lite1"
    assert installed_judge(["efficientnet-lite0", "efficientnet-lite1"]) is None
    assert judge("efficientnet-lite0", 32, file=weights).side == 128
    assert judge("efficientnet-lite0", 65, file=weights).side == 224
    with pytest.raises(UserError, match="flatter"):
        judge("efficientnet-lite0", 32, ["efficientnet-lite0"], weights)
    with pytest.raises(UserError, match="flatter"):
        refuse_teacher("vgg", ["vgg"])
    assert sorted(JUDGES) == sorted(TEACHERS)


def test_without_the_extra_a_run_is_whole_and_one_line_says_what_is_missing(tmp_path, source, monkeypatch):
    monkeypatch.setattr(judgement, "FEWEST", 4)
    for kind in TEACHERS.values():
        monkeypatch.setattr(kind, "is_installed", classmethod(lambda cls: False))
    run = tmp_path / "run"
    words = ["train", str(source), "-o", str(run), "--recipe", "vae", "--steps", "2", "--size", "16"]
    changes = {"reading.seconds": 0, "reading.judged": 64, "data.workers": 0, "precision": "float32"}
    assert main([*words, *options(changes)]) == 0
    log = (run / "log.jsonl").read_text()
    assert log.count("is not installed; pip install 'caselli[eyes]'") == 1
    assert "samples_judged" not in json.loads((run / "results.json").read_text())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra):
        judge("efficientnet-lite0", 16)
