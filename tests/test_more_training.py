"""A run that is done goes on when it is given more, and `run.yaml` claims nothing that did not happen."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import pytest
import torch
import yaml

import caselli
from caselli.cli import main
from tests.pictures import TINY, bars_and_stripes, equal_weights, options

FEW = {"training.tokenizer.batch": 8, "training.prior.batch": 8, "reading.seconds": 0.0}
RECIPES = {"tiny": ("tokenizer", "prior"), "vae": ("vae",), "unet": ("segmenter",)}
"""Recipe → names of its stages among the checkpoints."""
SMALL = {
    "tiny": TINY | FEW,
    "vae": {"model.width": 4, "training.batch": 8, "reading.seconds": 0.0},
    "unet": {"segmenter.width": 4, "training.batch": 4},
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    squares = shutil.copytree("tests/old_runs/squares", folder / "squares")
    source = bars_and_stripes(folder / "bars")
    return {"tiny": source, "vae": source, "unet": squares}


@pytest.fixture(scope="module")
def runs(pictures, tmp_path_factory):
    """Runs that ended at step 3, by recipe."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        recipe: caselli.train(
            pictures[recipe], folder / recipe, recipe=recipe, steps=3, changes=SMALL[recipe], progress=False
        )
        for recipe in RECIPES
    }


@pytest.fixture
def run(request, runs, tmp_path):
    return shutil.copytree(runs[request.param], tmp_path / "run")


def steps(run, recipe):
    """The steps that each stage was trained for, as its checkpoint has it."""
    folders = [run / "checkpoints" / stage for stage in RECIPES[recipe]]
    return [torch.load(folder / "last.pt", weights_only=True)["step"] for folder in folders]


def claimed(run):
    training = yaml.safe_load((run / "run.yaml").read_text())["config"]["training"]
    if "steps" in training:
        return [training["steps"]]
    return [training[stage]["steps"] for stage in ("tokenizer", "prior")]  # no decoder is refined here


def train(pictures, recipe, run, *words):
    return main(["train", str(pictures[recipe]), "-o", str(run), "--resume", *map(str, words)])


each = pytest.mark.parametrize(("run", "recipe"), [(name, name) for name in RECIPES], indirect=["run"])
two_stages = pytest.mark.parametrize(("run", "recipe"), [("tiny", "tiny")], indirect=["run"])


@each
def test_a_run_that_is_done_goes_on(pictures, run, recipe, capsys):
    assert train(pictures, recipe, run, "--steps", 7) == 0
    assert steps(run, recipe) == claimed(run) == [7] * len(RECIPES[recipe])
    assert capsys.readouterr().err.count("resuming at step 3; the schedule ends at step 7") == len(
        RECIPES[recipe]
    )
    caselli.load(run)


def test_a_run_inside_its_own_pictures_goes_on(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(pictures["vae"], tmp_path / "set"))
    words = ["train", ".", "-o", "run", "--recipe", "vae", *options(SMALL["vae"])]
    assert main([*words, "--steps", "1"]) == main([*words, "--steps", "2", "--resume"]) == 0
    assert claimed(tmp_path / "set" / "run") == [2]


@each
def test_a_run_goes_on_by_the_clock(pictures, run, recipe):
    assert train(pictures, recipe, run, "--minutes", 0.03) == 0
    assert min(steps(run, recipe)) > 3


@each
def test_the_command_of_the_report_trains_on(pictures, run, recipe):
    command = re.search(r"caselli train [^<]*--resume[^<]*", (run / "report.html").read_text())[0]
    words = shlex.split(command)[1:]
    words[words.index("-o") + 1] = str(run)
    assert main(words) == 0
    assert steps(run, recipe) == claimed(run) == [6] * len(RECIPES[recipe])


@each
@pytest.mark.parametrize("words", [("--steps", 2), ("--minutes", 1e-5)])
def test_less_than_was_trained_is_refused(pictures, run, recipe, words, capsys):
    before = (run / "run.yaml").read_bytes()
    assert train(pictures, recipe, run, *words) == 2
    assert "more was expected" in capsys.readouterr().err
    assert (run / "run.yaml").read_bytes() == before


@each
def test_an_optimiser_without_a_training_is_refused(pictures, run, recipe, capsys):
    field = "training.learning_rate" if recipe != "tiny" else "training.prior.learning_rate"
    before = (run / "run.yaml").read_bytes()
    assert train(pictures, recipe, run, f"--{field}", 0.5) == 2
    assert "more was expected" in capsys.readouterr().err and (run / "run.yaml").read_bytes() == before


@two_stages
def test_one_stage_goes_on(pictures, run, recipe):
    assert train(pictures, recipe, run, "--stage", "prior", "--steps", 5) == 0
    assert steps(run, recipe) == claimed(run) == [3, 5]


@two_stages
def test_a_tokenizer_that_goes_on_leaves_its_prior_behind_with_a_word(pictures, run, recipe, capsys):
    assert train(pictures, recipe, run, "--stage", "tokenizer", "--steps", 5) == 0
    assert "trains the prior over what there is now" in capsys.readouterr().err
    assert steps(run, recipe) == claimed(run) == [5, 3]
    assert train(pictures, recipe, run) == 2
    assert "a longer budget was expected" in capsys.readouterr().err
    assert train(pictures, recipe, run, "--stage", "prior", "--steps", 4) == 0
    assert steps(run, recipe) == [5, 4]
    best = torch.load(run / "checkpoints" / "prior" / "best.pt", weights_only=True)
    assert best["step"] == 4, "a loss over other codes is no measure"
    caselli.load(run)


@two_stages
def test_a_tokenizer_does_not_go_on_where_its_prior_could_not(pictures, run, recipe, capsys):
    before = (run / "run.yaml").read_bytes()
    assert train(pictures, recipe, run, "--training.tokenizer.steps", 9) == 2
    assert "needs a longer one too" in capsys.readouterr().err
    assert (run / "run.yaml").read_bytes() == before and steps(run, recipe) == [3, 3]
    assert train(pictures, recipe, run, "--stage", "prior", "--training.tokenizer.steps", 9) == 2
    assert "is not trained now" in capsys.readouterr().err


@two_stages
def test_a_run_that_goes_on_and_is_stopped_is_usable_and_ends_in_the_same_bits(
    pictures, run, recipe, tmp_path, monkeypatch
):
    from caselli.engine import Fit, Interrupted

    other = shutil.copytree(run, tmp_path / "other")
    update = Fit.update

    def stopping(self, model, batch):
        if self.step == 4:
            self.stop()
        return update(self, model, batch)

    monkeypatch.setattr(Fit, "update", stopping)
    with pytest.raises(Interrupted):
        caselli.train(pictures[recipe], other, steps=7, resume=True, progress=False)
    caselli.load(other)
    monkeypatch.setattr(Fit, "update", update)
    for path in (run, other):
        assert train(pictures, recipe, path, "--steps", 7) == 0
    assert equal_weights(run, other)


@two_stages
def test_a_smaller_run_is_not_trained_on(pictures, run, recipe, tmp_path, capsys):
    small = tmp_path / "small"
    assert main(["slim", str(run), "-o", str(small), "--prune", "0.5", "--steps", "2"]) == 0
    assert "caselli train" not in (small / "report.html").read_text()
    assert train(pictures, recipe, small) == 0
    capsys.readouterr()
    assert train(pictures, recipe, small, "--steps", 9) == 2
    assert "nothing of this run can be trained" in capsys.readouterr().err


@two_stages
def test_samples_are_judged_anew_where_the_judgement_changes(pictures, run, recipe):
    assert train(pictures, recipe, run, "--reading.seconds", 0.1) == 0
    assert "read_as_asked" in json.loads((run / "results.json").read_text())["samples"]


@pytest.mark.parametrize("quantizer", ["fsq", "vq", "lfq", "gumbel"])
def test_a_training_that_diverges_says_so(pictures, tmp_path, quantizer, capsys):
    words = ["--recipe", "tiny", "--stage", "tokenizer", "--steps", "12", "--tokenizer.quantizer", quantizer]
    rest = [
        "--training.tokenizer.learning_rate",
        "1e8",
        "--training.tokenizer.clip",
        "0",
        "--precision",
        "float32",
    ]
    warm = ["--training.tokenizer.warmup", "0", "--training.tokenizer.batch", "8", "--data.workers", "0"]
    assert train(pictures, "tiny", tmp_path / "run", *words, *rest, *warm) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "finite number was expected" in said
