"""Recipe `pixels`: a prior on the bytes, with all that a run of two stages has; and runs from before."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import caselli
from caselli import data
from caselli.cli import main
from caselli.errors import UserError
from caselli.evaluate.score import score_pictures
from caselli.run import RunFolder, TwoStage, kind_of, train
from tests.pictures import bars_and_stripes

TINY = {
    "prior.width": 16,
    "prior.depth": 1,
    "prior.mixer_options": {"heads": 2},
    "training.prior.batch": 8,
    "training.prior.validations": 1,
    "precision": "float32",
    "reading.seconds": 0.0,
    "data.workers": 0,
}
OLD = Path(__file__).parent / "old_runs"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return bars_and_stripes(tmp_path_factory.mktemp("pictures") / "bars", size=8)


@pytest.fixture(scope="module")
def run(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "pixels"
    return train(source, folder, recipe="pixels", size=8, steps=4, changes=TINY, progress=False)


def test_the_run_is_one_of_two_stages(run):
    model = caselli.load(run)
    assert kind_of(run) is TwoStage and (run / "report.html").exists()
    assert not (run / "checkpoints" / "tokenizer").exists(), "there is nothing to train in the first stage"
    x = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(data.to_bytes(model.reconstruct(data.to_float(x))), x)
    assert model.sample(2, label="lying").shape == (2, 1, 8, 8)


def test_its_bits_are_exact(run, source):
    model, pictures = caselli.load(run), data.open(source, size=8, channels=1, split="held_out")
    scores = score_pictures(model, pictures)
    assert (scores.kind, scores.words) == ("density", "bits per dimension")
    x, labels = data.to_float(pictures.read(torch.arange(len(pictures)))), pictures.labels
    torch.testing.assert_close(scores.bits_per_dimension, model.score(x, labels).bits_per_dimension)
    evaluated = TwoStage.evaluate(model, str(source), "held_out")
    assert abs(evaluated["bits_per_dimension"] - scores.bits_per_dimension.mean()) < 1e-4


def test_a_picture_goes_on_from_its_upper_half(run):
    model, keep = caselli.load(run), torch.zeros(8, 8, dtype=torch.bool)
    keep[:4] = True
    x = data.to_float(torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8))
    found = model.complete(x, keep, label="lying")
    assert torch.equal(data.to_bytes(found[:, :, :4]), data.to_bytes(x[:, :, :4]))


@pytest.mark.parametrize("archive", [[], ["--archive"]])
def test_codes_are_the_bytes(run, source, tmp_path, archive):
    """The kind `codes` keeps every pixel of a picture of the run's size."""
    pytest.importorskip("constriction")
    pictures = sorted(source.rglob("*.png"))[:3]
    names = [str(path) for path in pictures]
    assert main(["compress", str(run), *names, *archive, "-o", str(tmp_path / "c")]) == 0
    assert main(["decompress", str(run), str(tmp_path / "c"), "-o", str(tmp_path / "d")]) == 0
    for path in pictures:
        expected = np.asarray(Image.open(path).convert("L"))
        assert np.array_equal(np.asarray(Image.open(tmp_path / "d" / path.name)), expected)


def test_all_minutes_are_the_priors(source, tmp_path):
    folder = tmp_path / "run"
    train(source, folder, recipe="pixels", size=8, minutes=0.002, changes=TINY, progress=False)
    training = RunFolder(folder).describe()["config"]["training"]
    assert training["prior"]["minutes"] == 0.002 and training["tokenizer"]["minutes"] is None


def test_fewer_levels(source, tmp_path):
    levels = {"tokenizer.quantizer_options.levels": 4}
    changes = TINY | levels
    model = caselli.load(
        train(source, tmp_path / "run", recipe="pixels", size=8, steps=1, changes=changes, progress=False)
    )
    assert len(model.sample(2).unique()) <= 4 and model.grey_levels == 4


# runs that were begun when it was a family ------------------------------------------------------------------


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A copy that may be changed; the run knows its pictures by a relative path."""
    for name in ("bars", "pixels"):
        shutil.copytree(OLD / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pixels"


def test_an_old_run_loads_into_the_same_distribution(old):
    expected, before = load_file(old / "expected.safetensors"), sorted(old.rglob("*"))
    model = caselli.load(old)
    assert kind_of(old) is TwoStage and model.classes == ("lying", "standing")
    bits = model.score(data.to_float(expected["pictures"]), torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(bits.bits_per_dimension, expected["bits_per_dimension"])
    assert torch.equal(data.to_bytes(model.sample(3, label="lying", seed=5)), expected["samples"])
    assert TwoStage.config_in(RunFolder(old)).prior.width == 16
    assert sorted(old.rglob("*")) == before
    (old / "run.yaml").unlink()
    assert kind_of(old) is TwoStage


def test_an_old_run_that_is_done_is_brought_to_its_new_form(old):
    weights = load_file(old / "family.safetensors")
    train("bars", old, resume=True, progress=False)
    assert RunFolder(old).describe()["kind"] == "two_stage" and not list(old.glob("family.*"))
    after = load_file(old / "prior.safetensors")
    assert all(torch.equal(after[name.removeprefix("task.prior.")], weights[name]) for name in weights)
    assert (old / "report.html").exists() and "bits_per_dimension" in RunFolder(old).results()["evaluation"]


def test_an_old_run_goes_on_from_its_checkpoint(old):
    for path in old.glob("family.*"):
        path.unlink()
    train("bars", old, steps=10, resume=True, progress=False)
    assert "resuming at step 8; the schedule ends at step 10" in (old / "log.jsonl").read_text()
    assert torch.load(old / "checkpoints" / "prior" / "last.pt", weights_only=True)["step"] == 10


def test_an_old_run_without_labels_says_that_it_cannot_go_on(old):
    described = yaml.safe_load((old / "run.yaml").read_text())
    described["config"]["model"]["classes"] = 0
    (old / "run.yaml").write_text(yaml.safe_dump(described))
    with pytest.raises(UserError, match="begun with model\\.classes 0"):
        train("bars", old, resume=True, progress=False)


@pytest.mark.parametrize(
    ("before", "now"),
    {
        "model.levels": "tokenizer.quantizer_options.levels",
        "model.prior.width": "prior.width",
        "training.steps": "training.prior.steps",
    }.items(),
)
def test_a_name_from_before_is_answered_by_the_new_one(source, tmp_path, capsys, before, now):
    words = ["train", str(source), "-o", str(tmp_path / "run"), "--recipe", "pixels", f"--{before}", "8"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert f"--{now}" in error and error.count("\n") == 1
    with pytest.raises(UserError, match=now):
        train(source, tmp_path / "run", recipe="pixels", size=8, changes={before: 8}, progress=False)
