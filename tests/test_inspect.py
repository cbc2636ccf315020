"""`caselli inspect`: floor times, parts of runs, and the page."""

from __future__ import annotations

import sys

import pytest
from PIL import Image
from torch import nn

from caselli.anatomy import inspect
from caselli.cli import main
from caselli.family import GAN, VAE, FamilyModel, GANConfig, Mixture, MixtureConfig, VAEConfig
from caselli.family.model import save_family
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


@pytest.mark.parametrize(("name", "part", "words"), [
    ("vae", "encoder", "on 1x8x8"),
    ("vae", "decoder", "on 5"),
    ("gan", "encoder", "on 1x8x8"),
    ("gan", "decoder", "on 37"),
])  # fmt: skip
def test_the_run_of_a_family(name, part, words, tmp_path, capsys):
    sizes = {"size": 8, "width": 8, "count": 5, "network": "residual"}
    family = {"vae": VAE(VAEConfig(**sizes)), "gan": GAN(GANConfig(classes=2, **sizes))}[name]
    save_family(FamilyModel(name, family), tmp_path)
    assert main(["inspect", str(tmp_path), "--part", part]) == 0
    assert words in capsys.readouterr().out


def test_families_without_such_networks(tmp_path, capsys):
    save_family(FamilyModel("mixture", Mixture(MixtureConfig(size=8, components=2))), tmp_path)
    assert main(["inspect", str(tmp_path)]) == 2
    assert "of vae or gan" in capsys.readouterr().err


def test_a_stated_machine_needs_no_weights(capsys):
    assert main(["inspect", "vqgan_decoder", "--rate", "100", "--bandwidth", "50", "--original"]) == 0
    assert "on the machine given: at least" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rate", "3"], "half a machine"),
        (["--rate", "0", "--bandwidth", "1"], "was expected"),
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


USERS = """
import torch
from torch import nn

class NeedsArguments(nn.Module):
    def __init__(self, width): super().__init__()

class Nothing(nn.Module):
    def forward(self, x): return None

class Raises(nn.Module):
    def forward(self, x): raise KeyError("mine")

class Broken(nn.Module):
    def __init__(self): raise ValueError("two\\nlines")

class Forgets(nn.Module):
    def __init__(self): pass

class Two(nn.Module):
    def forward(self, x, y): return x + y

number = 3
small = nn.Conv2d(3, 4, 3)
flat = nn.Linear(5, 2)
"""


@pytest.mark.parametrize(("name", "more", "words"), [
    ("NeedsArguments", [], "cannot be called without arguments"),
    ("Broken", [], "cannot be called without arguments (two)"),
    ("number", [], "cannot be called"),
    ("missing", [], "cannot be imported"),
    ("Forgets", [], "expected"),
    ("Nothing", [], "gives no tensor"),
    ("Raises", [], "takes no input of 3x224x224"),
    ("Two", [], "takes no input of"),
    ("small", ["--input", "4x8x8"], "takes no input of 4x8x8"),
    ("small", ["--input", "3x2x2"], "takes no input of 3x2x2"),
    ("small", ["--input", "3x5"], "expected"),
    ("small", ["--input", "3x9x9x9x9"], "takes no input"),
    ("small", ["--input", "3x99999999x9"], "at most 65,536"),
    ("small", ["--input", "0x3"], "were expected"),
    ("flat", ["--input", "4"], "were expected"),
    ("flat", ["--input", "2x4"], "takes no input of 2x4"),
    ("small", ["--at", "nowhere"], "nowhere"),
])  # fmt: skip
def test_what_cannot_be_inspected_is_said_in_a_line(name, more, words, tmp_path, capsys, monkeypatch):
    (tmp_path / "of_a_user.py").write_text(USERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "of_a_user", raising=False)
    assert main(["inspect", f"of_a_user:{name}", *more]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1, said


def test_networks_of_the_zoo_with_impossible_inputs(capsys):
    for shape in ("1x8x8", "3x1x1", "3", "3x8", "3x8x8x8"):
        assert main(["inspect", "vgg16", "--input", shape]) == 2
        assert capsys.readouterr().err.count("\n") == 1
