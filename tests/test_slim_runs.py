"""`caselli slim`: a smaller run is a run like any other."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from caselli.cli import main
from caselli.model import load
from caselli.run import train
from tests.chaos.forked import killed_when
from tests.chaos.forked import run as run_command
from tests.pictures import TINY, bars_and_stripes, equal_weights

FEW = {"prior.mixer_options.heads": 4, "prior.depth": 3, "reading.seconds": 0.0, "tokenizer.width": 32}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    source = bars_and_stripes(folder / "pictures")
    return train(source, folder / "run", recipe="tiny", steps=6, changes=TINY | FEW, progress=False)


def slim(run, out, *words):
    return main(["slim", str(run), "-o", str(out), *map(str, words)])


def weights_bytes(run):
    return sum(path.stat().st_size for path in run.glob("*.safetensors"))


def figures(run):
    return json.loads((run / "results.json").read_text())["slim"]


WAYS = {
    "int8": ("--quantise", "int8"),
    "int4": ("--quantise", "int4", "--stage", "prior"),
    "int8 in training": ("--quantise", "int8", "--activations", "int8", "--steps", 2),
    "heads and channels": ("--prune", 0.5),
    "recovered": ("--prune", 0.5, "--steps", 2),
    "both stages": ("--prune", 0.5, "--structure", "channels", "--stage", "both", "--steps", 2),
    "layers": ("--prune", 0.4, "--structure", "layers"),
    "weights": ("--prune", 0.5, "--structure", "weights", "--stage", "both", "--steps", 2),
    "2:4": ("--prune", 0.5, "--structure", "2:4"),
    "distilled": ("--distil-to", "[mamba2]", "--steps", 4, "--batch", 4),
    "narrower": ("--distil-to", "attention", "--width", 16, "--steps", 2),
    "decoder": ("--distil-decoder", 0.5, "--steps", 2),
}


QUICK = ("int8 in training", "both stages", "layers", "distilled")


@pytest.mark.parametrize("way", [w if w in QUICK else pytest.param(w, marks=pytest.mark.slow) for w in WAYS])
def test_a_smaller_run(teacher, tmp_path, way, capsys):
    run = tmp_path / "small"
    assert slim(teacher, run, *WAYS[way]) == 0, capsys.readouterr().err
    assert weights_bytes(run) < weights_bytes(teacher)
    found = figures(run)
    assert found["after"]["bytes"] == weights_bytes(run) and found["before"]["bytes"] == weights_bytes(
        teacher
    )
    page = (run / "report.html").read_text()
    assert "Made smaller" in page and (run / "pictures" / "slim.png").exists()
    one, again = load(run), load(run)
    sequence = torch.zeros(2, one.grid.length, dtype=torch.int64)
    bits = one.prior.log_prob(sequence, torch.tensor([0, 1]))
    assert torch.equal(bits, again.prior.log_prob(sequence, torch.tensor([0, 1])))
    assert one.sample(2, label="lying").shape == (2, 1, 16, 16)
    assert "codes per second" in capsys.readouterr().out


def test_every_command_takes_it(teacher, tmp_path, capsys):
    run, source = tmp_path / "small", teacher.parent / "pictures"
    assert slim(teacher, run, "--prune", 0.5) == 0
    again = tmp_path / "smaller"
    assert slim(run, again, "--quantise", "int8") == 0, "a run can be made smaller twice"
    assert load(again).prior.blocks[0].mixer.heads < 4 or load(again).prior.blocks[1].mixer.heads < 4
    assert weights_bytes(again) < 0.5 * weights_bytes(run)
    picture = next((source / "lying").iterdir())
    for words in (
        ["sample", again, "-n", 2, "-o", tmp_path / "s.png"],
        ["complete", again, picture, "--keep", "upper", "-n", 1, "-o", tmp_path / "c.png"],
        ["evaluate", again, source],
        ["score", again, source],
        ["reconstruct", again, picture, "-o", tmp_path / "r.png"],
        ["train", source, "-o", again, "--resume"],
        ["compare", "slim", source, teacher, run, again, "-o", tmp_path / "compared"],
    ):
        assert main([str(word) for word in words]) == 0, (words, capsys.readouterr().err)
    assert figures(again)["from"] == "small"
    table = (tmp_path / "compared" / "table.md").read_text().splitlines()
    assert len(table) == 5 and "weights in int8" in table[4]
    assert (tmp_path / "compared" / "pictures.png").exists()


def test_int8_costs_next_to_nothing(teacher, tmp_path):
    run = tmp_path / "small"
    assert slim(teacher, run, "--quantise", "int8") == 0
    found = figures(run)
    name = "prior_bits_per_dimension"
    assert found["after"][name] == pytest.approx(found["before"][name], rel=0.01)
    assert found["after"]["psnr"] == pytest.approx(found["before"]["psnr"], abs=0.2)
    tensors = load_file(run / "prior.safetensors")
    assert tensors["blocks.0.up.weight.integers"].dtype == torch.int8
    codebook = load_file(run / "tokenizer.safetensors")
    before = load_file(teacher / "tokenizer.safetensors")
    kept = [name for name in before if name.startswith("quantizer")]
    assert kept and all(torch.equal(codebook[name], before[name]) for name in kept)


def test_codes_are_carried_over_where_they_are_the_same(teacher, tmp_path):
    run = tmp_path / "small"
    assert slim(teacher, run, "--distil-decoder", 0.5, "--steps", 1) == 0
    old, new = (load_file(r / "codes" / "train.safetensors")["codes"] for r in (teacher, run))
    assert torch.equal(old, new)
    assert load(run).tokenizer.fingerprint() != load(teacher).tokenizer.fingerprint()


MISTAKES = {
    "no method": ((), "no method"),
    "two methods": (("--quantise", "int8", "--prune", 0.5), "quantise and prune"),
    "unknown precision": (("--quantise", "int3"), "int3"),
    "integers of other weights": (("--quantise", "int4", "--activations", "int8"), "int8 of both"),
    "share of 1": (("--prune", 1.0), "between 0 and 1"),
    "share below 0": (("--prune", -0.5), "at least 0"),
    "unknown structure": (("--prune", 0.5, "--structure", "rows"), "rows"),
    "2:4 of another share": (("--prune", 0.3, "--structure", "2:4"), "two of every four"),
    "unknown mixer": (("--distil-to", "[mamba9]", "--steps", 1), "did you mean"),
    "no budget": (("--distil-to", "[mamba2]"), "no budget"),
    "unknown stage": (("--quantise", "int8", "--stage", "first"), "first"),
    "nothing to take out": (("--prune", 0.1, "--structure", "layers"), "none"),
    "layers of a tokenizer": (("--prune", 0.5, "--structure", "layers", "--stage", "tokenizer"), "channels"),
    "temperature": (("--distil-to", "[mamba2]", "--steps", 1, "--temperature", 0), "temperature"),
    "minutes": (("--quantise", "int8", "--minutes", -1), "more than 0"),
    "not a number": (("--prune", "half"), "half"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(teacher, tmp_path, mistake, capsys):
    words, said = MISTAKES[mistake]
    assert slim(teacher, tmp_path / "small", *words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("caselli: ") and said in lines[-1]


def test_runs_that_do_not_fit(teacher, tmp_path, capsys):
    alone = tmp_path / "tokenizer-alone"
    alone.mkdir()
    for name in ("run.yaml", "tokenizer.json", "tokenizer.safetensors"):
        shutil.copy(teacher / name, alone / name)
    assert slim(alone, tmp_path / "a", "--prune", 0.5) == 2
    assert "no prior" in capsys.readouterr().err
    assert slim(alone, tmp_path / "b", "--quantise", "int8", "--stage", "tokenizer") == 0
    assert slim(teacher, teacher, "--quantise", "int8") == 2
    assert slim(teacher, tmp_path / "b", "--quantise", "int8", "--stage", "tokenizer") == 2
    assert "holds a run already" in capsys.readouterr().err
    assert slim(teacher, tmp_path / "b", "--quantise", "int4", "--resume") == 2
    assert "keeps its configuration" in capsys.readouterr().err
    assert slim(tmp_path / "nothing", tmp_path / "c", "--quantise", "int8") == 2
    assert slim(teacher, teacher.parent / "pictures", "--quantise", "int8") == 2


def test_distilling_resumes_bit_equal(teacher, tmp_path):
    often = tmp_path / "often"  # a run whose training writes checkpoints often
    shutil.copytree(teacher, often)
    text = (often / "run.yaml").read_text()
    (often / "run.yaml").write_text(text.replace("checkpoint_steps: 0", "checkpoint_steps: 2"))

    def words(run):
        return ["slim", often, "-o", run, "--distil-to", "[linear]", "--steps", 12]

    whole, run = tmp_path / "whole", tmp_path / "run"
    assert run_command(words(whole)).code == 0
    killed = killed_when(words(run), (run / "checkpoints/prior/last.pt").exists)
    assert killed, "the run was too quick to be killed"
    load(run)  # it is a run at any moment
    assert not (run / "report.html").exists()
    assert run_command([*words(run), "--resume"]).code == 0
    assert equal_weights(whole, run)
