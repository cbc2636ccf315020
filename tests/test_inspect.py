"""`caselli inspect`: floor times, parts of runs, and the page."""

from __future__ import annotations

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
