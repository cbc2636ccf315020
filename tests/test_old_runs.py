"""Run folders that an earlier version wrote (before `run.yaml` named the kind) load, are used, and go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import caselli
from caselli.run import FamilyRun, RunFolder, SegmentationRun, TwoStage, kind_of

OLD = Path(__file__).parent / "old_runs"
"""Folders of pictures, and runs that were trained on them for eight steps with tiny widths."""
LAST = {"two_stage": "prior", "vae": "family", "unet": "segmenter"}
"""Run → the stem of what its last stage leaves."""
SOURCE = {"two_stage": "bars", "vae": "bars", "unet": "squares"}
STAGE = {"two_stage": "prior", "vae": "vae", "unet": "segmenter"}
"""Run → its last stage's name in the log."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy that may be changed; the runs know their pictures by relative paths."""
    shutil.copytree(OLD, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


def without_last(run: Path) -> dict[str, torch.Tensor]:
    """Takes the last stage's result out of a run, as if it had been killed before; gives its weights."""
    stem = run / LAST[run.name]
    weights = load_file(stem.with_suffix(".safetensors"))
    for suffix in (".safetensors", ".json"):
        stem.with_suffix(suffix).unlink()
    return weights


def test_load_and_sample_two_stages():
    model = caselli.load(OLD / "two_stage")
    pictures = model.sample(2, label="lying", seed=1)
    assert pictures.shape == (2, 1, 16, 16) and pictures.abs().max() <= 1
    assert model.score(pictures).prior_bits.shape == (2,)


def test_load_and_sample_a_family():
    model = caselli.load(OLD / "vae")
    assert model.sample(2, seed=1).shape == (2, 1, 8, 8)
    assert model.score(model.sample(2)).bits_per_dimension.shape == (2,)


def test_load_and_segment():
    model = caselli.load(OLD / "unet")
    assert model.segment(torch.zeros(2, 1, 16, 16)).shape == (2, 16, 16)


@pytest.mark.parametrize(
    ("name", "kind"), {"two_stage": TwoStage, "vae": FamilyRun, "unet": SegmentationRun}.items()
)
def test_the_kind_of_a_run_that_does_not_name_it(folder, name, kind):
    """By its configuration; without that, by its files."""
    assert "kind" not in RunFolder(name).describe() and kind_of(name) is kind
    (folder / name / "run.yaml").unlink()
    assert kind_of(name) is kind


@pytest.mark.parametrize("name", LAST)
def test_a_last_stage_that_is_missing_comes_back_from_its_checkpoints(folder, name):
    """All steps are done: what is kept are the best weights, to the bit."""
    run = folder / name
    before = without_last(run)
    caselli.train(SOURCE[name], run, resume=True, progress=False)
    after = load_file(run / f"{LAST[name]}.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    assert (run / "report.html").exists()
    assert RunFolder(run).describe()["kind"] == kind_of(run).name


@pytest.mark.parametrize("name", LAST)
def test_a_run_goes_on_with_more_steps(folder, name):
    run = folder / name
    without_last(run)
    caselli.train(SOURCE[name], run, steps=10, resume=True, progress=False)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    messages = [line["message"] for line in lines if line["stage"] == STAGE[name] and "message" in line]
    assert "resuming at step 8; the schedule ends at step 10" in messages
    assert max(line["step"] for line in lines if line["stage"] == STAGE[name]) == 10
