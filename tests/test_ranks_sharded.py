"""Weights shared out over two ranks train to those of one process, and resume on any number of ranks."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from caselli import ranks
from caselli.data import CodeBatch
from caselli.engine import CPU, Fit, Generated, Training, TrainingConfig
from caselli.order import Grid, Raster
from caselli.prior import Alphabet, PriorConfig, PriorTask, build
from tests.test_ranks import launched

STEPS = 20

SCRIPT = """
import shutil, sys
from pathlib import Path
from caselli import ranks
from tests.test_ranks_sharded import saved, trained

ranks.start()
folder = Path(sys.argv[1])
saved(trained(folder / "sharded", "sharded", accumulate=2), folder / "sharded.pt")
if ranks.is_first():
    checkpoints = folder / "again/checkpoints/prior"
    checkpoints.mkdir(parents=True)
    shutil.copyfile(folder / "sharded/checkpoints/prior/before.pt", checkpoints / "last.pt")
ranks.wait()
saved(trained(folder / "again", "sharded", accumulate=2), folder / "again.pt")
ranks.stop()
"""


def task():
    torch.manual_seed(0)
    prior = build(PriorConfig(width=32, depth=2, mixer_options={"heads": 2}), Alphabet((16,), (0,) * 16))
    return PriorTask(prior, Raster(), Grid(4, 4))


def batch(step):
    codes = torch.randint(16, (8, 4, 4), generator=torch.Generator().manual_seed(step))
    codes = codes.cumsum(-1) % 16  # something to learn
    own = codes.chunk(ranks.count())[ranks.rank()]
    return CodeBatch(own, None, None, torch.arange(len(own)))


def trained(folder, parallel="replicated", accumulate=1):
    config = TrainingConfig(
        steps=STEPS,
        batch=8,
        accumulate=accumulate,
        parallel=parallel,
        optimiser="adamw",  # Muon's iteration in bfloat16 magnifies rounding, replicated weights' as much
        learning_rate=3e-3,
        warmup=5,
        ema=0.9,
        validations=2,
        checkpoint_steps=STEPS // 2,
    )
    held_out = [batch(1000)]
    training = Training(task(), Generated(batch), held_out, config, folder, "prior", CPU)
    training.run()
    return training


def saved(training, path):
    """Keeps the weights and their average, whole."""
    states = Path(training.checkpoints.folder, "last.pt")
    if ranks.is_first():
        shutil.copyfile(states, path)


def distance(a, b):
    """Largest relative difference of two sets of weights, in the norm of each tensor."""
    names = [name for name, value in a.items() if isinstance(value, torch.Tensor)]
    return max(((a[n] - b[n]).norm() / b[n].norm().clamp_min(1e-12)).item() for n in names)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    launched(folder, SCRIPT, "29581", folder)
    alone = trained(folder / "alone")
    read = {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in ("sharded", "again")}
    return folder, alone, read


def test_two_ranks_train_the_weights_of_one(runs):
    _, alone, read = runs
    expected = torch.load(alone.checkpoints.folder / "last.pt", weights_only=True)
    assert read["sharded"]["step"] == STEPS
    for part in ("task", "ema"):
        assert distance(read["sharded"][part], expected[part]) < 1e-5, part


def test_they_resume_on_as_many_ranks_to_the_same_bits(runs):
    _, _, read = runs
    for part in ("task", "ema"):
        assert distance(read["again"][part], read["sharded"][part]) == 0


def test_one_process_goes_on_from_two_ranks(runs):
    folder, alone, _ = runs
    checkpoints = folder / "one/checkpoints/prior"
    checkpoints.mkdir(parents=True)
    shutil.copyfile(folder / "sharded/checkpoints/prior/before.pt", checkpoints / "last.pt")
    assert distance(trained(folder / "one").task.state_dict(), alone.task.state_dict()) < 1e-5


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
    from tests.pictures import TINY, bars_and_stripes, options

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
