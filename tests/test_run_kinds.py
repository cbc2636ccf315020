"""Laws over every kind of run, and the one way through them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

import caselli
from caselli.cli import main
from caselli.data import Pictures
from caselli.errors import UserError
from caselli.evaluate.score import score_pictures
from caselli.plain import flatten
from caselli.run import KINDS, RECIPES, RunConfig, RunFolder, kind_and_recipe, kind_of
from caselli.trained import Trained

OLD = Path(__file__).parent / "old_runs"
RUNS = {"two_stage": "two_stage", "family": "vae", "segmentation": "unet"}
"""Kind → a small run of it."""
SOURCES = {"two_stage": "bars", "family": "bars", "segmentation": "squares"}
RECIPE = {"two_stage": "tiny", "family": "vae", "segmentation": "unet"}
ABILITIES = {
    "encode": lambda model, x: model.encode(x),
    "reconstruct": lambda model, x: model.reconstruct(x),
    "sample": lambda model, x: model.sample(2),
    "complete": lambda model, x: model.complete(x, torch.ones(x.shape[2:], dtype=torch.bool)),
    "score": lambda model, x: model.score(x),
    "segment": lambda model, x: model.segment(x),
}
CAN = {
    "two_stage": {"encode", "reconstruct", "sample", "complete", "score"},
    "family": {"encode", "reconstruct", "sample", "score"},
    "segmentation": {"segment"},
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of small runs that may be changed; they know their pictures by relative paths."""
    shutil.copytree(OLD, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_says_what_it_is(name):
    kind = KINDS[name]
    assert kind.name == name and kind.recipes and kind.stages
    assert dataclasses.is_dataclass(kind.config_kind) and issubclass(kind.config_kind, RunConfig)
    for recipe in kind.recipes:
        shares = kind.stage_shares(recipe)
        assert list(shares) == [stage for stage in kind.stages if stage in shares], "in their order"
        assert abs(sum(shares.values()) - 1) < 1e-9 and min(shares.values()) >= 0
        assert RECIPES[recipe].kind is kind and RECIPES[recipe].func.__doc__
        known = flatten(kind.fields(recipe))
        assert set(kind.settled) <= set(known), "what follows from the data is a field"
        assert all(f"{stage.training}.steps" in known for stage in kind.stages)
        assert kind_and_recipe("nowhere", recipe) == (kind, recipe)


def test_recipes_differ():
    assert sum(len(kind.recipes) for kind in KINDS.values()) == len(RECIPES)


@pytest.mark.parametrize("name", KINDS)
def test_what_a_run_loads_into(name):
    """The same interface for every kind; what a kind cannot do, it says in one line that names what can."""
    model = caselli.load(OLD / RUNS[name])
    assert isinstance(model, Trained) and model.to("cpu") is model
    x = torch.zeros(2, model.channels, model.size, model.size)
    for ability, use in ABILITIES.items():
        if ability in CAN[name]:
            assert len(torch.atleast_1d(getattr(use(model, x), "bits_per_dimension", torch.zeros(2)))) == 2
        else:
            with pytest.raises(UserError, match=f"{model.title} was given, which cannot .* was expected"):
                use(model, x)
    for part in model.parts().values():
        assert isinstance(part.network, torch.nn.Module) and all(part.shape)


@pytest.mark.parametrize("name", KINDS)
def test_every_run_is_evaluated(folder, name, capsys):
    assert main(["evaluate", RUNS[name], SOURCES[name], "--split", "all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] > 0


@pytest.mark.parametrize(
    ("recipe", "stage"), [("vae", "prior"), ("unet", "tokenizer"), ("tiny", "segmenter")]
)
def test_a_stage_that_a_run_does_not_have_is_refused(folder, recipe, stage):
    with pytest.raises(UserError, match=f"stage {stage!r} was given"):
        caselli.train("bars", folder / "new", recipe=recipe, stage=stage)
    assert not (folder / "new").exists()


@pytest.mark.parametrize("name", KINDS)
def test_a_recipe_of_another_kind_is_refused(folder, name):
    other = next(recipe for recipe in ("vae", "tiny") if RECIPES[recipe].kind.name != name)
    with pytest.raises(UserError, match="a resumed run keeps its recipe"):
        caselli.train(SOURCES[name], RUNS[name], recipe=other, resume=True)


@pytest.mark.parametrize("name", KINDS)
def test_a_done_run_is_neither_trained_nor_looked_at_again(folder, name, monkeypatch):
    for stage in KINDS[name].stages:
        for method in ("task", "look"):
            monkeypatch.setattr(stage, method, lambda self: pytest.fail("done already"))
    caselli.train(SOURCES[name], RUNS[name], resume=True, progress=False)


@pytest.mark.parametrize("name", KINDS)
def test_a_run_that_was_killed_before_its_last_look_is_looked_at(folder, name):
    run, group = RunFolder(RUNS[name]), list(KINDS[name].stage_shares(RECIPE[name]))[-1].results
    results = run.results()
    del results[group]
    (run.path / "results.json").write_text(json.dumps(results))
    caselli.train(SOURCES[name], run.path, resume=True, progress=False)
    assert run.results()[group]


@pytest.mark.parametrize("name", KINDS)
def test_a_resumed_run_is_checked_before_time_is_spent(folder, name, monkeypatch):
    def refuse(config, data):
        raise UserError("checked")

    monkeypatch.setattr(KINDS[name], "check", refuse)
    with pytest.raises(UserError, match="checked"):
        caselli.train(SOURCES[name], RUNS[name], resume=True, progress=False)


@pytest.mark.parametrize("name", KINDS)
def test_the_command_line_offers_the_fields_of_the_kind(name, capsys):
    assert main(["train", "--recipe", RECIPE[name], "--help-fields"]) == 0
    shown, kind = capsys.readouterr().out, KINDS[name]
    record = kind.fields(RECIPE[name])
    for dotted in flatten(record):
        if "." in dotted and dotted not in ("data.source", "data.size"):
            assert (f"--{dotted} " in shown) == (dotted.startswith("data.") or dotted not in kind.settled), (
                dotted
            )


def test_scoring_encodes_each_batch_once(monkeypatch):
    model, encoded = caselli.load(OLD / "two_stage"), []
    monkeypatch.setattr(
        model.tokenizer,
        "encode",
        lambda x, encode=model.tokenizer.encode: encoded.append(len(x)) or encode(x),
    )
    pixels = torch.randint(0, 256, (5, 1, 16, 16), dtype=torch.uint8)
    scores = score_pictures(model, Pictures.of("some", pixels), batch=3)
    assert encoded == [3, 2] and scores.kind == "bound" and len(scores.bits_per_dimension) == 5


def test_no_run_at_all(tmp_path):
    with pytest.raises(UserError, match="a folder with a trained run was expected"):
        kind_of(tmp_path)
