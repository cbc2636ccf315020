"""Two processes under torchrun train the tiny recipe to the same codebook on both ranks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

import caselli
from caselli.model import load
from tests.pictures import TINY, bars_and_stripes

SCRIPT = """
import sys, json, torch
from pathlib import Path
from caselli import ranks
from caselli.run import two_stage
from caselli.tokenizer import TokenizerTask

source, out, changes = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
seen = {}
original = two_stage.TokenizerTask
class Watched(original):
    def __init__(self, tokenizer):
        super().__init__(tokenizer)
        seen["task"] = self
two_stage.TokenizerTask = Watched
two_stage.train(source, out, recipe="tiny", steps=6, changes=changes, progress=False)
torch.save(seen["task"].state_dict(), Path(out) / f"rank{ranks.rank()}.pt")
ranks.stop()
"""


def test_two_ranks_hold_the_same_weights(tmp_path):
    import json
    import os

    source = bars_and_stripes(tmp_path / "pictures")
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    words = [
        "--nproc-per-node",
        "2",
        "--master-port",
        "29577",
        str(script),
        str(source),
        str(tmp_path / "run"),
    ]
    roots = (Path(__file__).parent.parent, Path(caselli.__file__).parent.parent)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, roots))}
    command = [sys.executable, "-m", "torch.distributed.run", *words, json.dumps(TINY)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / "run" / f"rank{r}.pt", weights_only=True) for r in (0, 1))
    assert any("codebook" in name for name in first)
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert load(tmp_path / "run").sample(2).shape == (2, 1, 16, 16)
