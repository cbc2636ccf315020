"""`caselli inspect`: floor times, parts of runs, and the page."""

from __future__ import annotations

import pytest
from PIL import Image
from torch import nn

from caselli.anatomy import inspect
from caselli.cli import main
from caselli.report.inspection import Timing, inspection_page
from caselli.segmentation import SegmenterConfig, build_segmenter, save_segmenter


@pytest.fixture
def run(tmp_path):
    """The folder of a tiny segmenter, as a run leaves it."""
    config = SegmenterConfig(classes=3, width=4, depth=2, norm="group")
    save_segmenter(build_segmenter(config), config, 32, "abc", tmp_path / "run")
    (tmp_path / "run" / "run.yaml").write_text("machine: {precision: bfloat16}\nconfig: {}\n")
    line = '{"stage": "segmenter", "split": "train", "step": 10, "seconds": 1, "samples_per_second": 50}\n'
    (tmp_path / "run" / "log.jsonl").write_text(line)
    return tmp_path / "run"


def test_a_run_against_its_floor(run, tmp_path, capsys):
    picture = tmp_path / "wide.png"
    Image.new("RGB", (50, 40), "red").save(picture)
    page = tmp_path / "page.html"
    assert main(["inspect", str(run), "--measure", "--picture", str(picture), "-o", str(page)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("picture forward on this machine" in line and "of the limit" in line for line in lines)
    trained = next(line for line in lines if "training of this run's segmenter (bfloat16)" in line)
    assert "20.000 ms" in trained
    text = page.read_text()
    for words in ("share of the limit", "partly redundant", "most expensive layers", "effective field"):
        assert words in text, words


def test_a_stated_machine_needs_no_weights(capsys):
    assert main(["inspect", "vqgan_decoder", "--rate", "100", "--bandwidth", "50", "--original"]) == 0
    assert "on the machine given: at least" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rate", "3"], "half a machine"),
        (["--rate", "0", "--bandwidth", "1"], "positive"),
        (["--picture", "nowhere.png", "-o", "new.html"], "cannot be read"),
        (["--at", "nowhere"], "nowhere"),
    ],
)
def test_mistakes(run, capsys, monkeypatch, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", str(run), *words]) == 2
    assert message in capsys.readouterr().err


def test_redundant_biases_are_marked():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 1))
    text = inspection_page(inspect(network, (3, 16, 16)), "mine").html()
    assert text.count("✗") == 1 and "0.bias" in text


def test_corners_and_middle():
    found = inspect(nn.Conv2d(1, 1, 3, padding=1), (1, 8, 9))
    assert [field.position for field in found.spread] == [(0, 0), (0, 8), (7, 0), (7, 8), (4, 4)]
    assert found.spread[0].axes[0].first == -1
    flat = inspect(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 2)), (1, 8, 8))
    assert flat.at.layer == "0" and len(flat.spread) == 5


def test_words_of_a_timing():
    assert Timing("x", 0.5).words() == ("x", "500.000 ms", "", "")
