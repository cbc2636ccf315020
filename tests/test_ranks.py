"""Two ranks train the tiny recipe to the same codebook on both, and find the figures of one."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn

import caselli
from caselli import ranks
from caselli.data import Pictures
from caselli.data.segmentation import Segmented
from caselli.engine import CPU, Training, TrainingConfig
from caselli.evaluate import compare_sets, evaluate_model, own_part
from caselli.family.base import FamilyTask
from caselli.family.gan import GAN, GANConfig
from caselli.features import train_classifier
from caselli.model import Model, load
from caselli.order import Raster
from caselli.run import train, two_stage
from caselli.segmentation.task import SegmentationTask
from caselli.tokenizer import Tokenizer, TokenizerConfig, TokenizerTask
from tests.forked_ranks import run_on
from tests.pictures import TINY, bars_and_stripes


def watched(source, out):
    """Trains the tiny recipe; each rank leaves the state of its tokenizer's task."""
    seen = {}

    class Watched(TokenizerTask):
        def __init__(self, tokenizer):
            super().__init__(tokenizer)
            seen["task"] = self

    with mock.patch.object(two_stage, "TokenizerTask", Watched):
        train(source, out, recipe="tiny", steps=6, changes=TINY, progress=False)
    torch.save(seen["task"].state_dict(), out / f"rank{ranks.rank()}.pt")


def forked(source, out):
    run_on(2, watched, source, out)


def by_torchrun(source, out):
    """As a user launches it."""
    code = "import sys; from pathlib import Path; from tests.test_ranks import ranks, watched\n"
    script = out.parent / "script.py"
    script.write_text(code + "watched(*map(Path, sys.argv[1:])); ranks.stop()")
    roots = (Path(__file__).parent.parent, Path(caselli.__file__).parent.parent)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, roots))}
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    words = [*start, str(script), str(source), str(out)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


class Counted(SegmentationTask):
    """Counts its batches."""

    batches = 0

    def validate(self, batch):
        self.batches += 1
        return super().validate(batch)


def validated(folder):
    """Validation figures of three kinds of task, from five batches of different lengths."""
    torch.manual_seed(0)
    pictures = Pictures.of("noise", torch.randint(256, (18, 1, 16, 16), dtype=torch.uint8))
    masks = torch.randint(3, (18, 16, 16), dtype=torch.uint8)
    parts = torch.arange(18).split(4)
    config = TokenizerConfig(channels=1, width=16, latent_width=8, quantizer_options={"codebook_size": 16})
    for name, task, source in (
        ("tokenizer", TokenizerTask(Tokenizer(config)), pictures),
        ("gan", FamilyTask(GAN(GANConfig(size=16, width=8, count=4, network="perceptron"))), pictures),
        ("segmenter", Counted(nn.Conv2d(1, 3, 1), 3), Segmented(pictures, masks, tuple("abc"))),
    ):
        held_out = [source.batch(i) for i in parts]
        run = Training(task, None, held_out, TrainingConfig(), folder, name, CPU)
        run._validate()
    (folder / f"batches{ranks.rank()}").write_text(str(run.ema.module.batches))
    ranks.wait()


def evaluated(folder):
    """Figures of an untrained tokenizer's reconstructions of pictures, and of two sets of features."""
    torch.manual_seed(0)
    pictures = Pictures.of("noise", torch.randint(256, (15, 1, 16, 16), dtype=torch.uint8))
    config = TokenizerConfig(channels=1, width=16, latent_width=8, quantizer_options={"codebook_size": 16})
    model = Model(Tokenizer(config).eval(), None, Raster(), 16)
    first, own = own_part(pictures)
    real, made = torch.randn(2, 15, 4)[:, first : first + len(own)].double()
    found = [evaluate_model(model, pictures), compare_sets(real, made, features="none", reference="noise")]
    (folder / f"figures{ranks.rank()}.json").write_text(json.dumps(list(map(dataclasses.asdict, found))))


def test_the_figures_of_two_ranks_are_those_of_one(both):
    two, one = both
    alone = json.loads((one / "figures0.json").read_text())
    for rank in (0, 1):
        found = json.loads((two / f"figures{rank}.json").read_text())
        for ours, theirs in zip(found, alone, strict=True):
            for name, value in theirs.items():
                assert ours[name] == value or ours[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name


def measured(folder):
    validated(folder)
    evaluated(folder)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Folders of what two ranks and one found."""
    folder = tmp_path_factory.mktemp("validated")
    run_on(2, measured, folder / "two")
    measured(folder / "one")
    return folder / "two", folder / "one"


def logged(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return {line.pop("stage"): line for line in lines}


def test_the_validation_of_two_ranks_is_that_of_one(both):
    lines, alone = map(logged, both)
    assert len(lines) == len(alone) == 3
    assert [(both[0] / f"batches{rank}").read_text() for rank in (0, 1)] == ["3", "2"]
    for stage, expected in alone.items():
        line = lines[stage]
        for figure, value in expected.items():
            assert line[figure] == value or line[figure] == pytest.approx(value, abs=2e-5), figure


@pytest.mark.parametrize("launch", [forked, pytest.param(by_torchrun, marks=pytest.mark.slow)])
def test_two_ranks_hold_the_same_weights(tmp_path, launch):
    launch(bars_and_stripes(tmp_path / "pictures"), tmp_path / "run")
    first, second = (torch.load(tmp_path / "run" / f"rank{r}.pt", weights_only=True) for r in (0, 1))
    assert any("codebook" in name for name in first)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert load(tmp_path / "run").sample(2).shape == (2, 1, 16, 16)


def alone(folder):
    if ranks.is_first():
        pixels = torch.zeros(8, 1, 8, 8, dtype=torch.uint8)
        pictures = Pictures.of("p", pixels, classes=("a", "b"), labels=torch.arange(8) % 2)
        train_classifier(pictures, steps=1, precision="float32")
        assert ranks.count() == 2
        (folder / "done").touch()
    ranks.wait()


def test_the_first_rank_trains_a_classifier_alone(tmp_path):
    run_on(2, alone, tmp_path)
    assert (tmp_path / "done").exists()
