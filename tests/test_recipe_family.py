"""One-stage recipes: from pictures to report, killed and resumed bit-equal; the commands on their runs."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

import caselli
from caselli.cli import main
from caselli.evaluate.score import score_pictures
from caselli.family import FamilyModel
from caselli.run import train
from tests.chaos.forked import killed_when
from tests.chaos.forked import run as run_command
from tests.pictures import TINY as TWO_STAGES
from tests.pictures import bars_and_stripes, options

pytestmark = pytest.mark.drawn

COMMON = {
    "training.batch": 8,
    "training.validations": 2,
    "training.checkpoint_steps": 3,
    "precision": "float32",
    "reading.seconds": 0.3,
    "reading.samples": 8,
    "data.workers": 0,
}
TINY = {
    "vae": {"model.width": 8, "model.count": 4, "model.evaluation_samples": 2},
    "gan": {"model.width": 8, "model.count": 4, "model.critic_features": 16},
    "mixture": {"model.components": 4},
}
STEPS = 10


def arguments(source, run, name):
    words = ["train", source, "-o", run, "--recipe", name, "--steps", STEPS, "--resume"]
    return [*words, *options(COMMON | TINY[name])]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return bars_and_stripes(tmp_path_factory.mktemp("pictures") / "bars", size=8)


@pytest.fixture(scope="module")
def runs(source, tmp_path_factory):
    """A run of every recipe."""
    folder = tmp_path_factory.mktemp("runs")
    assert all(run_command(arguments(source, folder / name, name)).code == 0 for name in TINY)
    return {name: folder / name for name in TINY}


@pytest.mark.parametrize("name", TINY)
def test_a_run_ends_with_its_page(runs, name):
    run = runs[name]
    for file in (
        "run.yaml",
        "log.jsonl",
        "results.json",
        "report.html",
        "family.json",
        "pictures/samples.png",
    ):
        assert (run / file).stat().st_size > 0, file
    assert (run / "pictures" / "reconstructions.png").exists() == (name == "vae")
    assert (run / "pictures" / "latent_walk.png").exists() == (name in ("vae", "gan"))
    page = (run / "report.html").read_text()
    assert "Samples" in page and "tokenizer" not in page.split("Configuration")[0]


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_kill_and_resume(source, runs, name, tmp_path):
    run = tmp_path / "run"
    words = arguments(source, run, name)
    killed = killed_when(words, (run / "checkpoints" / name / "before.pt").exists)
    assert killed and not (run / "family.json").exists(), "the run was too quick to be killed"
    assert run_command(words).code == 0
    ours, theirs = (load_file(path / "family.safetensors") for path in (run, runs[name]))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_resuming_needs_no_recipe_and_keeps_the_configuration(source, runs, capsys):
    assert main(["train", str(source), "-o", str(runs["vae"]), "--resume", "--reading.seconds", "0.2"]) == 0
    assert main(["train", str(source), "-o", str(runs["vae"]), "--resume", "--model.count", "7"]) == 2
    assert "keeps its configuration" in capsys.readouterr().err


@pytest.mark.parametrize("name", TINY)
def test_commands(source, runs, name, tmp_path, capsys):
    run, source = str(runs[name]), str(source)
    model = caselli.load(run)
    assert isinstance(model, FamilyModel) and model.name == name
    assert main(["sample", run, "-n", "3", "-o", str(tmp_path / "grid.png")]) == 0
    assert main(["encode", run, source, "-o", str(tmp_path / "r.safetensors")]) == 0
    tensors = load_file(tmp_path / "r.safetensors")
    assert len(tensors["representations"]) == len(tensors["labels"]) == 40
    capsys.readouterr()
    assert main(["evaluate", run, source, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert 0 <= figures["probe_accuracy"] <= 1
    code = main(["score", run, source, "-o", str(tmp_path / "scores.csv")])
    said = capsys.readouterr()
    if name == "gan":
        assert code == 2 and "family gan was given, which cannot say how probable" in said.err
        return
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    values = [float(line.rsplit(",", 1)[1]) for line in lines[1:]]
    assert code == 0 and len(values) == 40 and values == sorted(values, reverse=True)
    assert ("bound" in lines[0]) == ("bound" in said.out) == (name == "vae")


def test_labels_of_a_gan(runs, tmp_path, capsys):
    run = str(runs["gan"])
    assert main(["sample", run, "-n", "2", "--label", "lying", "-o", str(tmp_path / "x.png")]) == 0
    assert main(["sample", run, "--label", "lyng", "-o", str(tmp_path / "y.png")]) == 2
    assert "did you mean lying" in capsys.readouterr().err
    assert main(["reconstruct", run, "digits", "-o", str(tmp_path / "z.png")]) == 2
    assert "cannot reconstruct" in capsys.readouterr().err


def test_what_does_not_fit_is_refused_before_training(source, tmp_path, capsys):
    words = [
        "train",
        str(source),
        "-o",
        str(tmp_path / "run"),
        "--recipe",
        "vae",
        "--model.divergence",
        "mmd",
    ]
    assert main(words) == 2
    assert "these fit: maximum_likelihood" in capsys.readouterr().err and not (tmp_path / "run").exists()
    assert (
        main(["train", str(source), "-o", str(tmp_path / "run"), "--recipe", "gan", "--prior.width", "3"])
        == 2
    )


def test_odd_pictures_come_first(runs):
    """A mixture of bars finds noise odd."""
    model = caselli.load(runs["mixture"])
    pixels = torch.full((5, 1, 16, 16), 255, dtype=torch.uint8)
    pixels[3] = torch.randint(0, 256, (1, 16, 16), dtype=torch.uint8)
    rows = score_pictures(model, caselli.data.Pictures.of("some", pixels)).oddest_first()
    assert rows[0][0] == "000003"


def test_score_of_a_run_with_two_stages(source, tmp_path, capsys):
    """Codes and residual together; noise costs more than any picture like those it was trained on."""
    run = train(source, tmp_path / "run", recipe="tiny", steps=2, changes=TWO_STAGES, progress=False)
    assert main(["score", str(run), str(source), "--most", "2", "-o", str(tmp_path / "s.csv")]) == 0
    assert "upper bound" in capsys.readouterr().out
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[0] == "picture,bits_per_dimension_bound" and len(lines) == 41
