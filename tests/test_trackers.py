"""Trackers: every one of the table follows a short training; none is asked for, none is imported."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys

import pytest
import torch

from caselli.cli import main
from caselli.engine import TRACKERS, Losses, Task, Training, TrainingConfig, expect_trackers, tracked
from caselli.engine.machine import CPU
from caselli.errors import UserError
from tests.pictures import TINY, bars_and_stripes, options

INSTALLED = [
    name
    for name, kind in TRACKERS.items()
    if not kind.library or importlib.util.find_spec(kind.library) is not None
]


class Mean(Task):
    """A number that becomes the mean of others."""

    def __init__(self):
        super().__init__()
        self.mean = torch.nn.Parameter(torch.zeros(1))

    def forward(self, batch, step):
        return Losses((self.mean - batch).square().mean(), {"odd": torch.tensor(float("nan"))})

    def validate(self, batch):
        return {"loss": (self.mean - batch).square().mean()}


class Ones:
    def stream(self, start=0):
        while True:
            yield torch.ones(4)


def train(folder, name, steps=20):
    config = TrainingConfig(steps=steps, validations=2, batch=4, warmup=1)
    with tracked([name], folder, "mean", {"prior.width": 8, "track": [name]}) as trackers:
        assert len(trackers) == 1
        Training(Mean(), Ones(), [torch.ones(4)], config, folder, "mean", CPU, trackers=trackers).run()


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Weights & Biases without a network, a home folder, or a service that outlives the test."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("CONFIG", "CACHE", "DATA", "ARTIFACT"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb-own"))
    yield
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


@pytest.mark.parametrize("name", INSTALLED)
def test_it_follows_a_training_and_one_that_goes_on(tmp_path, name, capsys, offline):
    folder = tmp_path / "run"
    train(folder, name)
    train(folder, name, steps=40)
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    if name == "json":
        assert {line["split"] for line in shown} == {"train", "validation"}
        assert [line["step"] for line in shown if line["split"] == "train"] == [10, 20, 30, 40]
        assert all(line["odd"] is None for line in shown if line["split"] == "train")
    else:
        files = [path for path in (folder / name).rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) > 500
    if name == "wandb":
        kept = list(folder.glob("wandb/offline-run-*"))
        assert len(kept) == 2 and len({path.name.split("-")[3] for path in kept}) == 1, "one run over there"


def test_what_is_not_installed_is_named_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(TRACKERS["wandb"], "library", "no_such_library")
    source, out = bars_and_stripes(tmp_path / "pictures"), tmp_path / "run"
    words = ["train", str(source), "-o", str(out), "--recipe", "tiny", *options(TINY)]
    assert main([*words, "--track", "wandb"]) == 2
    assert "pip install 'caselli[wandb]'" in capsys.readouterr().err and not out.exists()
    assert main([*words, "--track", "tensorbord"]) == 2
    assert "did you mean tensorboard" in capsys.readouterr().err and not out.exists()


def test_a_run_keeps_its_trackers(tmp_path, capsys):
    source, out = bars_and_stripes(tmp_path / "pictures"), tmp_path / "run"
    words = ["train", str(source), "-o", str(out), "--recipe", "tiny", "--steps", "1", *options(TINY)]
    assert main([*words, "--track", "json", "--stage", "tokenizer"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["stage"] for line in lines} == {"tokenizer"}
    logged = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert len(lines) == len([line for line in logged if line["split"] != "message"])
    assert (
        main(["train", str(source), "-o", str(out), "--resume", "--stage", "tokenizer", "--steps", "2"]) == 0
    )
    assert capsys.readouterr().out.count("\n") >= 2


def test_other_ranks_track_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("caselli.ranks.is_first", lambda: False)
    with tracked(["json"], tmp_path, "mean", {}) as trackers:
        assert trackers == []


def test_without_a_login_it_says_what_to_do(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", os.devnull)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with (
        pytest.raises(UserError, match="WANDB_MODE=offline"),
        tracked(["wandb"], tmp_path, "mean", {}),
    ):
        pass
    expect_trackers(INSTALLED)
