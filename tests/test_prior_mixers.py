"""Every mixer as a prior, from the command line: trained, saved, loaded, sampled with its recurrent state."""

from __future__ import annotations

import json
import re

import pytest
import torch

import caselli
from caselli.cli import main
from caselli.errors import UserError
from caselli.mixer import MIXERS
from caselli.plain import options_of
from caselli.prior import Alphabet, Autoregressive, PriorConfig
from tests.pictures import TINY, bars_and_stripes, options

CHANGES = {**TINY, "reading.seconds": 0.0, "prior.depth": 1}
HYBRIDS = {"[mamba2, mamba2, local]": ["Mamba2", "Mamba2", "LocalAttention"]}


def is_causal(name):
    return MIXERS[name](width=64).causal


CAUSAL = [name for name in MIXERS if is_causal(name)]
QUICK = ("mamba2", "flash", "rwkv7")
"""One of each kind of state; the other mixers go the same way in `make test-slow`."""


def of_its_own(name):
    """The options of TINY are attention's: a mixer that does not know them would refuse them."""
    known = {option for part in re.findall(r"\w+", name) for option in options_of(MIXERS[part])}
    return {
        k: v
        for k, v in CHANGES.items()
        if not k.startswith("prior.mixer_options") or k.split(".")[-1] in known
    }


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return bars_and_stripes(tmp_path_factory.mktemp("mixers") / "pictures", count=16)


def train(source, out, name, **changes):
    words = ["train", str(source), "-o", str(out), "--recipe", "tiny", "--steps", "2", "--prior.mixer", name]
    return main([*words, *options(of_its_own(name) | changes)])


def check(run, capsys, tmp_path, kinds):
    """Trained with these mixers; samples are a function of the seed; tokens per second are told."""
    results = json.loads((run / "results.json").read_text())
    assert results["samples"]["tokens_per_second"] > 0
    assert "codes sampled per second" in (run / "report.html").read_text()
    model = caselli.load(run)
    assert [type(block.mixer).__name__ for block in model.prior.blocks] == kinds
    capsys.readouterr()
    assert main(["sample", str(run), "-n", "2", "-o", str(tmp_path / "samples.png")]) == 0
    assert re.search(r"[1-9]\d* tokens per second", capsys.readouterr().err)
    calls = []
    for block in model.prior.blocks:
        block.mixer.register_forward_pre_hook(lambda mixer, given: calls.append(given[0].shape[1]))
    model.sample(2, seed=3)
    assert set(calls) <= {1}, "one token at a time, from the state"


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CAUSAL]
)
def test_every_causal_mixer_is_a_prior(name, pictures, tmp_path, capsys):
    assert train(pictures, tmp_path / "run", name) == 0, capsys.readouterr().err
    check(tmp_path / "run", capsys, tmp_path, [MIXERS[name].__name__])


@pytest.mark.parametrize("names", HYBRIDS)
def test_hybrids(names, pictures, tmp_path, capsys):
    assert train(pictures, tmp_path / "run", names, **{"prior.depth": 3}) == 0, capsys.readouterr().err
    check(tmp_path / "run", capsys, tmp_path, HYBRIDS[names])


@pytest.mark.slow
def test_the_embedded_glyphs(tmp_path, capsys):
    """The command as the guide names it."""
    assert train("glyphs", tmp_path / "run", "mamba2", **{"data.views": 1}) == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", CAUSAL)
def test_a_step_of_learning_reaches_every_mixer(name):
    """Loss and gradients through the prior are finite, and one step lowers the loss of its batch."""
    torch.manual_seed(0)
    prior = Autoregressive(PriorConfig(mixer=name, width=32, depth=1), Alphabet((7,), (0,) * 9))
    codes = torch.randint(7, (4, 9))
    before = -prior.log_prob(codes, None).mean()
    before.backward()
    with torch.no_grad():
        for parameter in prior.parameters():
            if parameter.grad is not None:
                assert parameter.grad.isfinite().all()
                parameter -= 0.05 * parameter.grad
        assert -prior.log_prob(codes, None).mean() < before


@pytest.mark.parametrize("name", sorted(set(MIXERS) - set(CAUSAL)))
def test_what_is_not_causal_is_refused(name, pictures, tmp_path, capsys):
    with pytest.raises(UserError, match="causal"):
        Autoregressive(PriorConfig(mixer=name, width=32, depth=1), Alphabet((7,), (0,) * 9))
    assert train(pictures, tmp_path / "run", name) == 2
    assert f"mixer '{name}' was given; an autoregressive prior needs a causal one" in capsys.readouterr().err
    assert not (tmp_path / "run").exists(), "before any time is spent"
