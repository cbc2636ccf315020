"""The benchmark of mixers runs at a tiny size, does without peers, and names its sections."""

from __future__ import annotations

import pickle

import pytest
import torch
from bench import mixers
from bench.mixer_peers import Peer, dense_attention


def absent():
    raise ModuleNotFoundError("No module named 'nowhere'", name="nowhere")


def test_growth(capsys):
    mixers.growth(1e11, (64, 128), 1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11 and lines[0].split()[0] == "op"
    assert "vector decay (GLA), T = 128" in lines[9]


def test_a_peer_that_is_not_installed_is_left_out(capsys, monkeypatch):
    ours = Peer("ours", "linear", dense_attention, repeats=1)
    monkeypatch.setattr(mixers, "PEERS", (ours, Peer("nowhere", "linear", absent, longest=32)))
    pickled = lambda function, *given: function(*pickle.loads(pickle.dumps(given)))  # noqa: E731
    monkeypatch.setattr(mixers, "in_a_process", pickled)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    mixers.layers(1e11, 32)
    shown = capsys.readouterr().out
    assert "linear : ours" in shown and "nowhere is not installed" in shown
    mixers.layers(1e11, 64)
    assert "nowhere" not in capsys.readouterr().out


def test_tokens(capsys, monkeypatch):
    monkeypatch.setattr(
        mixers, "MIXERS", {name: mixers.MIXERS[name] for name in ("mamba2", "linformer", "gau")}
    )
    monkeypatch.setattr(mixers, "WIDTH", 64)
    mixers.tokens(1e11, 2, 5, 1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["mixer", "mamba2", "gau"]
    sizes = [line.split()[-2:] for line in lines[1:]]
    assert sizes[0][0] == sizes[0][1] and sizes[1][0] != sizes[1][1]


def test_an_unknown_section_is_named(capsys):
    assert mixers.main(["nothing"]) == 2
    assert ", ".join(mixers.SECTIONS) in capsys.readouterr().err


@pytest.mark.parametrize("section", mixers.SECTIONS.values())
def test_every_section_says_what_it_shows(section):
    assert section.__doc__
