"""Weights shared out over two ranks train to those of one process, and resume on any number of ranks."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import socket
import subprocess
import sys
import time

import pytest
import torch

from caselli import data, ranks
from caselli.data import CodeBatch, to_float
from caselli.engine import CPU, Checkpoints, Fit, Generated, Training, TrainingConfig
from caselli.errors import UserError
from caselli.model import load
from caselli.order import Grid, Raster
from caselli.prior import Alphabet, PriorConfig, PriorTask, build
from caselli.run import prior_stage, train
from tests.forked_ranks import Ranks, run_on
from tests.pictures import TINY, bars_and_stripes, options

STEPS = 20

PLACE = "checkpoints/prior"


def trained_twice(folder):
    """A sharded training, and one that goes on from its checkpoint at half time."""
    trained(folder / "sharded", "sharded", accumulate=2)
    if ranks.is_first():
        shutil.copytree(folder / "sharded" / PLACE / "before", folder / "again" / PLACE / "last")
    ranks.wait()
    trained(folder / "again", "sharded", accumulate=2)


def task():
    torch.manual_seed(0)
    prior = build(PriorConfig(width=32, depth=2, mixer_options={"heads": 2}), Alphabet((16,), (0,) * 16))
    return PriorTask(prior, Raster(), Grid(4, 4))


def batch(step):
    codes = torch.randint(16, (8, 4, 4), generator=torch.Generator().manual_seed(step))
    codes = codes.cumsum(-1) % 16  # something to learn
    own = codes.chunk(ranks.count())[ranks.rank()]
    return CodeBatch(own, None, None, torch.arange(len(own)))


def trained(
    folder,
    parallel="replicated",
    accumulate=1,
    checkpoint_steps=STEPS // 2,
    seconds=0.0,
    optimiser="muon",
    machine=CPU,
):
    """A training to its end; each batch takes so many seconds to come."""
    config = TrainingConfig(
        steps=STEPS,
        batch=8,
        accumulate=accumulate,
        parallel=parallel,
        optimiser=optimiser,
        learning_rate=3e-3,
        warmup=5,
        ema=0.9,
        validations=2,
        checkpoint_steps=checkpoint_steps,
        checkpoint_seconds=1e9,
    )
    held_out = [batch(1000)]
    training = Training(
        task(),
        Generated(lambda step: time.sleep(seconds) or batch(step)),
        held_out,
        config,
        folder,
        "prior",
        machine,
    )
    training.run()
    return training


def trained_in_bfloat16(folder):
    """A sharded training whose products are bfloat16."""
    trained(folder, "sharded", machine=dataclasses.replace(CPU, precision="bfloat16"))


def newest(folder):
    """The newest checkpoint of a training, whole, as one process reads it."""
    state, words = Checkpoints(folder / PLACE).load()
    assert not words
    return state


def distance(a, b):
    """Largest relative difference of two sets of weights, in the norm of each tensor."""
    names = [name for name, value in a.items() if isinstance(value, torch.Tensor)]
    pairs = [(a[name].double(), b[name].double()) for name in names]
    return max(((left - right).norm() / right.norm().clamp_min(1e-12)).item() for left, right in pairs)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    run_on(2, trained_twice, folder)
    trained(folder / "alone")
    return folder


def close(a, b, largest=1e-5):
    """True where weights and their averages are those of another state, but for the order of sums."""
    assert a["step"] == b["step"] == STEPS
    return all(distance(a[part], b[part]) <= largest for part in ("task", "ema"))


def test_two_ranks_train_the_weights_of_one(runs):
    assert close(newest(runs / "sharded"), newest(runs / "alone"))
    places = sorted(path.name for path in (runs / "sharded" / PLACE).iterdir())
    assert places == ["before", "best", "last"], "each rank writes its own part, and nothing is left behind"
    parts = list((runs / "sharded" / PLACE / "last").glob("*.safetensors"))
    whole = sum(path.stat().st_size for path in (runs / "alone" / PLACE).glob("last.pt"))
    assert len(parts) == 2 and max(path.stat().st_size for path in parts) < 0.6 * whole


def test_in_bfloat16_two_ranks_train_nearly_the_weights_of_one(runs, tmp_path):
    """On processors layers are gathered in float32, as normalisations take one precision alone."""
    run_on(2, trained_in_bfloat16, tmp_path)
    ours, alone = newest(tmp_path), newest(runs / "alone")
    apart = distance(ours["task"], alone["task"])
    assert 1e-5 < apart < 0.05, "0.03: Muon's iteration magnifies rounding"


def test_they_resume_on_as_many_ranks_to_the_same_bits(runs):
    assert close(newest(runs / "again"), newest(runs / "sharded"), largest=0)


def test_one_process_goes_on_from_two_ranks(runs):
    shutil.copytree(runs / "sharded" / PLACE / "before", runs / "one" / PLACE / "last")
    trained(runs / "one")
    assert close(newest(runs / "one"), newest(runs / "alone"))
    places = sorted(path.name for path in (runs / "one" / PLACE).iterdir())
    assert places == ["before", "best.pt", "last.pt"]


def test_parts_that_are_cut_short_fall_back(runs, tmp_path):
    shutil.copytree(runs / "sharded" / PLACE, tmp_path / PLACE)
    checkpoints = Checkpoints(tmp_path / PLACE)
    assert checkpoints.reached()[0] == STEPS
    part = next((tmp_path / PLACE / "last").glob("*.safetensors"))
    part.write_bytes(part.read_bytes()[:-8])
    state, words = checkpoints.load()
    assert state["step"] == STEPS // 2 and "falling back" in words[0]
    assert checkpoints.reached()[0] == STEPS // 2
    next((tmp_path / PLACE / "before").glob("*.safetensors")).unlink()
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoints.load()


def slowly(folder, seconds=0.02):
    """A sharded training with many checkpoints."""
    trained(folder, "sharded", checkpoint_steps=2, seconds=seconds)


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(2,) * 6, (4,) * 4, (4, 1, 2, 4), (2, 4, 1, 2)], ids=str)
def test_killed_at_random_and_resumed(tmp_path, counts):
    """Bit-equal on as many ranks, within the order of sums on others."""
    lots, begin = random.Random(str(counts)), time.monotonic()
    run_on(counts[0], slowly, tmp_path / "whole")
    whole, killed, reached = time.monotonic() - begin, 0, 0
    for count in counts:
        started = Ranks(count, slowly, tmp_path / "run")
        time.sleep(lots.uniform(0.2, 0.9) * whole)
        started.kill()
        killed += -9 in started.wait()
        now = (Checkpoints(tmp_path / "run" / PLACE).reached() or (0, 0))[0]
        assert now >= reached, "nothing that was saved is lost"
        reached = now
    run_on(counts[-1], slowly, tmp_path / "run")
    assert killed, "none was killed in time"
    ours, theirs = newest(tmp_path / "run"), newest(tmp_path / "whole")
    assert close(ours, theirs, largest=0 if len(set(counts)) == 1 else 1e-5)
    assert not list((tmp_path / "run" / PLACE).glob(".*")), "nothing unfinished is left"


@pytest.mark.slow
def test_four_ranks_train_the_weights_of_one_and_go_on_as_two(tmp_path):
    run_on(4, trained_twice, tmp_path)
    trained(tmp_path / "alone")
    four, alone = newest(tmp_path / "sharded"), newest(tmp_path / "alone")
    assert close(four, alone) and close(newest(tmp_path / "again"), four, largest=0)
    shutil.copytree(tmp_path / "sharded" / PLACE / "before", tmp_path / "two" / PLACE / "last")
    run_on(2, slowly, tmp_path / "two")
    assert close(newest(tmp_path / "two"), alone)


def tiny(source, run, changes):
    """Both stages in a process of its own, which so few steps give a guide."""
    prior_stage.EARLIEST = STEPS // 2
    train(source, run, recipe="tiny", steps=STEPS, changes=changes, progress=False)


@pytest.mark.slow
def test_the_tiny_recipe_on_one_two_and_four_ranks(tmp_path):
    """Both stages end in the same weights but for the order of sums, and choose the same codes. What is
    dropped at random is every rank's own matter."""
    source = bars_and_stripes(tmp_path / "pictures")
    changes = {**TINY, "training.prior.parallel": "sharded", "training.early_guide": 0.5}
    changes |= {"prior.label_dropout": 0.0, "prior.code_vectors": True}
    models = {}
    for count in (1, 2, 4):
        run = tmp_path / f"run{count}"
        run_on(count, tiny, source, run, changes)
        models[count] = load(run)
    pictures = data.open(str(source))
    pixels = to_float(pictures.read(torch.arange(len(pictures))))
    expected = models[1].encode(pixels)
    for count in (2, 4):
        for part in ("tokenizer", "prior", "guide"):
            ours, alone = (getattr(models[c], part).state_dict() for c in (count, 1))
            assert distance(ours, alone) < 1e-5, (count, part)
        assert (models[count].encode(pixels) == expected).float().mean() >= 0.999


def test_blocks_computed_twice_have_the_same_gradients():
    found = []
    for again in (False, True):
        one = task()
        for block in one.blocks():
            block.dropout.p = 0.3
        config = TrainingConfig(batch=8, recompute=again, clip=0.0, learning_rate=1e-9)
        fit = Fit(one, None, config)
        fit.update(one, batch(0))
        found.append([p.grad for p in one.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


DYING = """
import os, sys
from caselli import ranks
from caselli.cli import main
from caselli.engine import Fit

update = Fit.update
def dying(self, model, batch):
    if ranks.rank() == 1 and self.step == 3:
        os._exit(9)
    return update(self, model, batch)
Fit.update = dying
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_rank_that_dies_stops_the_others_with_one_line(tmp_path):
    script = tmp_path / "dying.py"
    script.write_text(DYING)
    source = bars_and_stripes(tmp_path / "pictures")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = ["train", str(source), "-o", str(tmp_path / "run"), "--recipe", "tiny", "--steps", "50"]
    words += options({k: v for k, v in TINY.items() if k != "precision"})
    shared = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    both = [
        subprocess.Popen(
            [sys.executable, str(script), *words],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    _, said = both[0].communicate(timeout=300)
    assert both[1].wait(timeout=60) == 9 and both[0].returncode == 2
    assert "another process of this training has ended" in said.splitlines()[-1]
    assert "Traceback" not in said and "--resume" in said.splitlines()[-1]
