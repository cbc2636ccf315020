"""Whole adversarial runs: two ranks, killed and resumed, and what they write."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from caselli import ranks
from caselli.cli import main
from caselli.data import Batch
from caselli.evaluate import installed_judge
from caselli.model import load
from caselli.tokenizer import AdversarialConfig, AdversarialTask, Tokenizer, TokenizerConfig
from tests.chaos.forked import killed_when
from tests.chaos.forked import run as run_command
from tests.forked_ranks import run_on
from tests.pictures import TINY, bars_and_stripes, options

pytestmark = pytest.mark.drawn

RANKS = 2
SMALL = TINY | {
    "tokenizer.adversarial.width": 8,
    "tokenizer.adversarial.discriminator_options.layers": 1,
    "tokenizer.adversarial.lecam": 0.1,
    "tokenizer.adversarial.r1": 1.0,
    "tokenizer.adversarial.r1_every": 4,
    "tokenizer.diagnostics": "apply",
    "training.tokenizer.checkpoint_steps": 3,
}


def step(rank, ranks):
    """Gradients and buffers after two steps on this rank's share, in float64."""
    torch.manual_seed(0)
    adversarial = AdversarialConfig(
        weight=0.5, start=0.0, warmup=0.0, ramp=0.0, width=8, lecam=0.1, r1=1.0, r1_every=1,
        discriminator_options={"layers": 2, "norm": "group"},
    )  # fmt: skip
    config = TokenizerConfig(
        width=8, latent_width=8, channels=1, factor=4, adversarial=adversarial, diagnostics="apply",
        quantizer_options={"codebook_size": 16},
    )  # fmt: skip
    task = AdversarialTask(Tokenizer(config)).double()
    task.progress = 0.5
    model = DistributedDataParallel(task, broadcast_buffers=False) if ranks > 1 else task
    for number in range(2):
        torch.manual_seed(number)
        pictures = (torch.rand(8, 1, 16, 16, dtype=torch.float64) * 2 - 1).chunk(ranks)[rank]
        task.zero_grad()
        losses = model(Batch(pictures, None, None, torch.arange(len(pictures))), number)
        losses.total.backward()
    gradients = {name: p.grad for name, p in task.named_parameters()}
    return gradients, task.state_dict(), losses.metrics["adversarial_weight"]


def work(folder):
    torch.save(step(ranks.rank(), RANKS), folder / f"{ranks.rank()}.pt")


def test_two_ranks_are_one_with_the_joined_batch(tmp_path):
    run_on(RANKS, work, tmp_path)
    (first, state, weight), (second, other, _) = (torch.load(tmp_path / f"{r}.pt") for r in range(RANKS))
    alone, alone_state, alone_weight = step(0, 1)
    for name, gradient in alone.items():
        assert torch.equal(first[name], second[name]), name
        assert_close(first[name], gradient, rtol=1e-5, atol=1e-8, msg=lambda text, n=name: f"{n}: {text}")
    assert_close(state, other, rtol=0, atol=0)
    for name, value in alone_state.items():
        if isinstance(value, dict) or value.is_floating_point():
            # diagnostics average decibels, which are not linear
            rtol = 1e-3 if name.startswith("diagnostics") else 1e-4
            assert_close(state[name], value, rtol=rtol, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")
    assert_close(weight, alone_weight)


def words(source, run, steps):
    given = ["train", str(source), "-o", str(run), "--recipe", "vqgan", "--stage", "tokenizer"]
    changes = {
        name: value for name, value in SMALL.items() if not name.startswith(("prior", "training.prior"))
    }
    return [*given, "--steps", str(steps), "--resume", *options(changes)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vqgan")
    source = bars_and_stripes(folder / "pictures")
    assert run_command(words(source, folder / "run", 24)).code == 0
    return source, folder / "run"


def lines(run, split):
    return [
        line
        for line in map(json.loads, (run / "log.jsonl").read_text().splitlines())
        if line["split"] == split
    ]


def test_a_run_of_the_recipe(whole):
    _, run = whole
    said = " ".join(line["message"] for line in lines(run, "message"))
    assert "no VGG-16 weights were given" in said
    last = lines(run, "train")[-1]
    for name in ("score_real", "score_fake", "discriminator_right", "adversarial_weight", "codebook_use"):
        assert name in last
    assert "<h2>Discriminator</h2>" in (run / "report.html").read_text()
    weights = load_file(run / "tokenizer.safetensors")
    assert not [name for name in weights if "discriminator" in name or "diagnostics" in name]
    assert load(run).tokenizer.config.adversarial.weight == 0.5


def test_comparing_reconstructions(whole, tmp_path, capsys):
    source, run = whole
    out = tmp_path / "side"
    command = ["compare", "reconstructions", str(source), str(run), "-o", str(out)]
    assert main([*command, "--split", "all", "--shown", "4"]) == 0
    table = (out / "table.md").read_text()
    named = "efficientnet-lite0 at" if installed_judge() else "random weights, seed 0"
    assert "Fréchet distance" in table and named in table and "40 originals" in table
    assert (out / "pictures.png").stat().st_size > 0 and table.strip() in capsys.readouterr().out
    assert main(command) == 2, "it is there already"


@pytest.mark.slow
def test_kill_and_resume(whole, tmp_path):
    source, reference = whole
    run = tmp_path / "run"
    command = words(source, run, 24)
    moments = (3, 9, 15, 18)  # checkpoints every three steps
    killed = [killed_when(command, lambda step=step: saved_step(run) >= step) for step in moments]
    assert run_command(command).code == 0 and sum(killed) >= 2
    left, right = (load_file(folder / "tokenizer.safetensors") for folder in (reference, run))
    assert all(torch.equal(left[name], right[name]) for name in left)
    states = [
        torch.load(f / "checkpoints" / "tokenizer" / "last.pt", weights_only=True) for f in (reference, run)
    ]
    for name, value in states[0]["task"].items():
        other = states[1]["task"][name]  # a plain record where it is no tensor
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


def saved_step(run):
    try:
        return torch.load(run / "checkpoints" / "tokenizer" / "last.pt", weights_only=True)["step"]
    except (OSError, RuntimeError, EOFError):
        return -1
