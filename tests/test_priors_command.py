"""Every kind of prior from the command line: trained, killed and resumed, sampled, completed, scored."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import caselli
from caselli.cli import main
from caselli.prior import PRIORS, PriorTask
from caselli.run import train
from tests.pictures import TINY, bars_and_stripes, equal_weights, options

CHANGES = {**TINY, "reading.seconds": 0.0, "training.prior.checkpoint_steps": 2}
OWN: dict[str, dict[str, object]] = {
    "parallel": {
        "tokenizer.quantizer": "residual",
        "tokenizer.quantizer_options": {"stages": 2, "options": {"codebook_size": 16}},
    },
    "next_scale": {
        "tokenizer.quantizer": "multi_scale",
        "tokenizer.quantizer_options": {"options": {"codebook_size": 16}},
    },
}
"""The tokenizers of kinds that are made for some."""
BOUNDED = ("masked", "masked_places")
"""Kinds whose bits are a bound."""


class Killed(Exception):
    """In the middle of a run."""


def changes(kind):
    """Of the kind, on top of TINY's."""
    own = OWN.get(kind, {})
    plain = {k: v for k, v in CHANGES.items() if not (own and k.startswith("tokenizer.quantizer_options"))}
    return plain | own | {"prior.kind": kind}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return bars_and_stripes(tmp_path_factory.mktemp("priors") / "pictures", count=24)


@pytest.fixture(scope="module", params=PRIORS)
def run(request, pictures, tmp_path_factory):
    """A short run of each kind."""
    folder = tmp_path_factory.mktemp(request.param) / "run"
    return train(pictures, folder, recipe="tiny", steps=4, changes=changes(request.param), progress=False)


def test_trained_and_sampled(run, tmp_path, capsys):
    model = caselli.load(run)
    results = json.loads((run / "results.json").read_text())
    assert results["evaluation"]["prior_bits_per_picture"] > 0
    words = ["sample", str(run), "-n", "3", "--label", "lying", "--guidance", "1.5", "--seed", "5", "-o"]
    assert main([*words, str(tmp_path / "three")]) == 0, capsys.readouterr().err
    assert "tokens per second" in capsys.readouterr().err
    alone = model.sample(1, label="lying", seed=6, options=caselli.sampling.Sampling(guidance=1.5))
    again = np.array(Image.open(tmp_path / "three" / "00001.png").convert("L"), dtype=int)
    assert np.abs(again - ((alone[0, 0] + 1) * 127.5).numpy()).mean() < 2


def test_completed(run, pictures, tmp_path, capsys):
    """The kept part comes back, pasted where codes of several scales add up to it."""
    picture, out = next((pictures / "lying").iterdir()), tmp_path / "out.png"
    words = ["complete", str(run), str(picture), "--keep", "left", "--paste", "-n", "2", "-o", str(out)]
    words += ["--label", "lying", "--guidance", "1.5"]
    assert main(words) == 0, capsys.readouterr().err
    assert out.exists()
    model = caselli.load(run)
    given, keep = torch.rand(2, 1, 16, 16) * 2 - 1, torch.zeros(16, 16, dtype=torch.bool)
    keep[:, :8] = True
    completed = model.complete(given, keep, "lying", options=caselli.sampling.Sampling(guidance=1.5))
    assert torch.equal(
        completed,
        model.complete(
            torch.where(keep, given, 0.5), keep, "lying", options=caselli.sampling.Sampling(guidance=1.5)
        ),
    )
    if not model.tokenizer.quantizer.places_are_own:
        assert torch.equal(completed[..., :8], given[..., :8])


def test_scored(run, pictures, capsys):
    model = caselli.load(run)
    assert main(["score", str(run), str(pictures), "--most", "2"]) == 0
    assert "mean" in capsys.readouterr().out
    scored = model.score(torch.zeros(2, 1, 16, 16))
    assert scored.exact == model.prior.exact == (model.prior.kind not in BOUNDED)
    torch.testing.assert_close(scored.prior_bits, model.score(torch.zeros(2, 1, 16, 16)).prior_bits)
    assert main(["score", str(run), str(pictures), "--split", "held_out", "--bracket", "3"]) == 0
    assert "0.0% apart" in capsys.readouterr().out or not scored.exact


def test_compared(run, tmp_path, capsys):
    """A row for each run, with the bits named a bound where they are one."""
    words = ["compare", "samples", str(run), str(run), "-o", str(tmp_path / "priors")]
    assert main(words) == 0, capsys.readouterr().err
    table = (tmp_path / "priors" / "table.md").read_text()
    kind = caselli.load(run).prior.kind
    assert table.count(kind.replace("_", " ")) == 2 and ("≤" in table) == (kind in BOUNDED)
    assert Image.open(tmp_path / "priors" / "pictures.png").height > 100


def test_killed_and_resumed(run, pictures, tmp_path, monkeypatch):
    """The prior's last step is cut off; the resumed run ends in the same bits."""
    kind, forward, steps = caselli.load(run).prior.kind, PriorTask.forward, []

    def killed(task, batch, step):
        steps.append(step)
        if step == 3:
            raise Killed
        return forward(task, batch, step)

    arguments = {"recipe": "tiny", "steps": 4, "progress": False}
    monkeypatch.setattr(PriorTask, "forward", killed)
    with pytest.raises(Killed):
        train(pictures, tmp_path / "run", changes=changes(kind), **arguments)
    monkeypatch.setattr(PriorTask, "forward", lambda *given: steps.append(given[2]) or forward(*given))
    train(pictures, tmp_path / "run", resume=True, changes=changes(kind), **arguments)
    assert steps == [0, 1, 2, 3, 2, 3]
    assert equal_weights(run, tmp_path / "run")


def test_options_of_a_kind_from_the_command_line(pictures, tmp_path, capsys):
    """A wrong one is named before any time is spent; a right one is kept in the run."""
    words = ["train", str(pictures), "-o", str(tmp_path / "run"), "--recipe", "tiny", "--steps", "1"]
    words += [*options(CHANGES), "--prior.kind", "masked"]
    assert main([*words, "--prior.prior_options.stepz", "3"]) == 2
    assert "did you mean steps" in capsys.readouterr().err and not (tmp_path / "run").exists()
    assert main([*words, "--prior.prior_options.steps", "3"]) == 0, capsys.readouterr().err
    assert caselli.load(tmp_path / "run").prior.options.steps == 3
