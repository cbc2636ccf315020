"""A run that is killed and resumed ends in the same bits as one that was not."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from caselli.engine.checkpoint import Checkpoints
from caselli.errors import UserError
from caselli.model import load
from caselli.run import train
from tests.chaos.forked import killed_when
from tests.chaos.forked import run as run_command
from tests.pictures import TINY, bars_and_stripes, equal_weights, options

pytestmark = pytest.mark.drawn

STEPS = 14


def command(source, run):
    words = ["train", source, "-o", run, "--recipe", "tiny", "--steps", STEPS, "--resume"]
    # a checkpoint now and then, so that some of the work is lost by every kill
    often = {f"training.{stage}.checkpoint_steps": 3 for stage in ("tokenizer", "prior")}
    return [*words, *options(TINY | often)]


def last_step(run, stage):
    try:
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    except (FileNotFoundError, json.JSONDecodeError):
        return -1
    steps = [line["step"] for line in lines if line["stage"] == stage and line["split"] == "train"]
    return max(steps, default=-1)


def has_checkpoint(run, stage):
    return (run / "checkpoints" / stage / "last.pt").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    source = bars_and_stripes(folder / "pictures")
    assert run_command(command(source, folder / "run")).code == 0
    return source, folder / "run"


def test_kill_and_resume(whole, tmp_path):
    source, reference = whole
    run = tmp_path / "run"
    moments = [
        lambda: (run / "run.yaml").exists(),
        lambda: has_checkpoint(run, "tokenizer"),
        lambda: last_step(run, "tokenizer") >= 10,
        lambda: has_checkpoint(run, "prior"),
        lambda: last_step(run, "prior") >= 10,
    ]
    killed = [killed_when(command(source, run), moment) for moment in moments]
    assert sum(killed) >= 4, "the run was too quick to be killed"
    assert run_command(command(source, run)).code == 0
    assert equal_weights(reference, run)
    assert (run / "report.html").exists()


def test_the_run_folder_holds_what_it_should(whole):
    _, run = whole
    for name in ("run.yaml", "log.jsonl", "results.json", "report.html", "tokenizer.json", "prior.json"):
        assert (run / name).stat().st_size > 0, name
    for name in ("samples.png", "reconstructions.png"):
        assert (run / "pictures" / name).stat().st_size > 0, name
    page = (run / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script src" not in page


def test_loaded_model(whole):
    model = load(whole[1])
    pictures = model.sample(3, label="lying", seed=5)
    assert pictures.shape == (3, 1, 16, 16) and pictures.abs().max() <= 1
    again = model.sample(1, label="lying", seed=6, batch=1)
    assert (again[0] - pictures[1]).abs().max() < 1e-5, "the same seed gives the same picture in any batch"
    codes = model.encode(pictures)
    assert model.decode(codes).shape == pictures.shape
    assert model.score(pictures).prior_bits.shape == (3,)


def test_a_run_is_not_overwritten(whole):
    source, run = whole
    with pytest.raises(UserError, match="holds a run already"):
        train(source, run)
    with pytest.raises(UserError, match="holds other files"):
        train(source, source)


def test_a_run_goes_on_with_pictures_that_have_moved(whole, tmp_path):
    source, run = (shutil.copytree(path, tmp_path / path.name) for path in whole)
    moved = source.rename(tmp_path / "elsewhere")
    train(moved, run, resume=True, changes=TINY)
    assert str(moved) in (run / "run.yaml").read_text()


def test_changed_settings_and_pictures_are_refused_on_resume(whole, tmp_path):
    source, run = whole
    with pytest.raises(UserError, match="keeps its configuration"):
        train(source, run, resume=True, changes={"prior.width": 64})
    next(iter((source / "lying").iterdir())).rename(tmp_path / "gone.png")
    with pytest.raises(UserError, match="are not those"):
        train(source, run, resume=True, changes=TINY)


def test_a_checkpoint_that_is_cut_short_falls_back(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.load() == (None, [])
    for step in (1, 2):
        checkpoints.save({"step": step})
    assert checkpoints.load() == ({"step": 2}, [])
    last = tmp_path / "last.pt"
    last.write_bytes(last.read_bytes()[:-40])
    state, words = checkpoints.load()
    assert state == {"step": 1} and "falling back" in words[0]
    (tmp_path / "before.pt").write_bytes(b"")
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoints.load()


NO_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    PermissionError("last.pt"),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_a_checkpoint_that_finds_no_memory_is_not_taken_for_damaged(tmp_path, monkeypatch, error):
    """Falling back would train again what is on the disk, whole."""
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save({"step": step})

    def load(*arguments, **named):
        raise error

    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(type(error)):
        checkpoints.load()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_whatever_is_damaged_falls_back(tmp_path, share):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save({"step": step, "weights": torch.arange(100.0)})
    last = tmp_path / "last.pt"
    written = last.read_bytes()
    place = int(share * len(written))
    last.write_bytes(written[:place] + bytes(64) + written[place + 64 :][:-10])
    state, words = checkpoints.load()
    assert state["step"] == 1 and "falling back" in words[0]
